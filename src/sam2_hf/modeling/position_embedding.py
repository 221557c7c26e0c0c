"""The four position encodings of SAM 2, all computed in float32 whatever the model's dtype.

- sine, 2-D: interleaved sine and cosine of rows, then of columns (maps).
- sine, 1-D: sines, then cosines (distances in time).
- random Fourier features: a learned-once 2 x channels / 2 matrix (points and the prompt grid).
- axial rotary encoding: rotates channel pairs by column, then by row (memory attention).
"""

import math

import torch
from torch import Tensor, nn

TEMPERATURE = 10000.0
FOURIER_MATRIX = "shared_image_embedding.positional_embedding"  # under two names in files, once in memory
FOURIER_COPY = "prompt_encoder.shared_embedding.positional_embedding"
COMPLEX_DEVICES = ("cpu", "cuda")  # where a complex product is faster, three to eight times on CPU


def sine_encoding_2d(channels: int, height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Sine encoding of a grid: (channels, height, width), rows in the first half of the channels.

    Positions are counted from 1 and scaled so that the last one is a full turn (SAM 2, `PositionEmbeddingSine`).
    """
    half = channels // 2
    exponents = torch.arange(0, half, 2, dtype=torch.float32, device=device) / half  # (half / 2,)

    def axis(size: int) -> Tensor:
        position = torch.arange(1, size + 1, dtype=torch.float32, device=device)
        angle = 2 * math.pi * position / (size + 1e-6)
        angle = angle[:, None] / TEMPERATURE**exponents
        return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)  # (size, half)

    rows, columns = axis(height).T, axis(width).T  # (half, size)
    return torch.cat((rows[:, :, None].expand(-1, -1, width), columns[:, None, :].expand(-1, height, -1)))


def sine_encoding_1d(positions: Tensor, channels: int) -> Tensor:
    """Sine encoding of numbers (...,) in float32: (..., channels), all sines before all cosines."""
    half = channels // 2
    exponents = 2 * (torch.arange(half, device=positions.device) // 2) / half
    angle = positions.float().unsqueeze(-1) / TEMPERATURE**exponents
    return torch.cat((angle.sin(), angle.cos()), dim=-1)


class Float32Buffers(nn.Module):
    """Keeps its buffers in float32 when the model is cast: they follow the device, never the dtype."""

    def _apply(self, fn, recurse=True):
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, buffer in before.items():
            moved = self._buffers[name]
            if moved.dtype != buffer.dtype:
                self._buffers[name] = buffer.to(moved.device)
        return self


class FourierEmbedding(Float32Buffers):
    """Random Fourier features of points in [0, 1] (Tancik et al. 2020). The matrix is stored, never trained."""

    def __init__(self, channels: int, scale: float):
        super().__init__()
        self.scale = scale
        self.register_buffer("positional_embedding", scale * torch.randn(2, channels // 2, dtype=torch.float32))

    def forward(self, coordinates: Tensor) -> Tensor:
        """Encodes (..., 2) as (x, y) in [0, 1] to (..., channels), in float32.

        The product is written out because a matrix product would run in half precision under autocast.
        """
        x, y = (2.0 * coordinates.float() - 1.0).unsqueeze(-1).unbind(-2)  # (..., 1) each
        matrix = self.positional_embedding
        angle = 2 * math.pi * (x * matrix[0] + y * matrix[1])
        return torch.cat((angle.sin(), angle.cos()), dim=-1)

    def grid(self, height: int, width: int) -> Tensor:
        """The encoding of the cell centres of a grid: (1, channels, height, width)."""
        device = self.positional_embedding.device
        rows = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) / height
        columns = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) / width
        centres = torch.stack((columns.expand(height, -1), rows[:, None].expand(-1, width)), dim=-1)
        return self(centres).permute(2, 0, 1).unsqueeze(0)


class SineTable(Float32Buffers):
    """The 2-D sine encoding of one grid, made once: `table` is (channels, height, width)."""

    def __init__(self, channels: int, height: int, width: int):
        super().__init__()
        self.shape = (channels, height, width)
        self.register_buffer("table", self.compute(), persistent=False)

    def compute(self) -> Tensor:
        return sine_encoding_2d(*self.shape)


class AxialRotaryTable(Float32Buffers):
    """Cosines and sines of the axial rotary encoding of one grid, made once (RoFormer, in two dimensions).

    Args:
        head_channels: width of one attention head; a quarter of it are frequencies per axis.
        height, width: the grid; tokens are numbered row by row.
        theta: base of the frequencies.
    """

    def __init__(self, head_channels: int, height: int, width: int, theta: float):
        super().__init__()
        self.head_channels, self.height, self.width, self.theta = head_channels, height, width, theta
        self.register_buffer("table", self.compute(), persistent=False)

    def compute(self) -> Tensor:
        """(2, tokens, head_channels / 2): cosines and sines, columns before rows."""
        frequency = self.theta ** -(torch.arange(0, self.head_channels, 4, dtype=torch.float32) / self.head_channels)
        index = torch.arange(self.height * self.width)
        column, row = index % self.width, index // self.width
        angle = torch.cat((column[:, None] * frequency, row[:, None] * frequency), dim=-1)
        return torch.stack((angle.cos(), angle.sin()))

    def forward(self, tokens: Tensor) -> Tensor:
        """Rotates (..., tokens, head_channels) in float32 and returns the dtype that came."""
        cos, sin = self.table
        return self._turned(tokens, cos, sin)

    def places(self, num_tokens: int, num_unrotated: int) -> Tensor:
        """(tokens,) places of whole frames of tokens on the grid, and last of some that have none."""
        pixels, device = self.height * self.width, self.table.device
        on_grid = torch.arange(num_tokens - num_unrotated, device=device) % pixels
        return torch.cat((on_grid, torch.full((num_unrotated,), pixels, device=device)))

    def at(self, tokens: Tensor, places: Tensor) -> Tensor:
        """As `forward`, for any number of tokens (..., tokens, head_channels) whose places `places` gives."""
        unrotated = torch.stack((torch.ones_like(self.table[0, :1]), torch.zeros_like(self.table[1, :1])))
        cos, sin = torch.cat((self.table, unrotated), dim=1)[:, places]
        return self._turned(tokens, cos, sin)

    @staticmethod
    def _turned(tokens: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        pairs = tokens.float().unflatten(-1, (-1, 2))
        if pairs.device.type in COMPLEX_DEVICES and not torch.compiler.is_compiling():
            rotated = torch.view_as_real(torch.view_as_complex(pairs) * torch.complex(cos, sin))
        else:  # the same products written out, for what knows no complex numbers
            even, odd = pairs.unbind(-1)
            rotated = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
        return rotated.flatten(-2).to(tokens.dtype)
