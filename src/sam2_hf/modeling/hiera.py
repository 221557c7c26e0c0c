"""The image trunk: Hiera, a vision transformer in four stages that attends in windows (Ryali et al. 2023).

Maps are channels last here, (batch, height, width, channels), because every operation but pooling works on channels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from sam2_hf.modeling.fused import linear
from sam2_hf.modeling.layers import MLP, DropPath, Remembered, attend, is_eager
from sam2_hf.modeling.part_configurations import WINDOW_EMBEDDING_SIZE, Sam2HieraDetConfig, as_pair

STRIP_TOKENS = 2048  # per thread: what a block makes of so many stays in the caches of a core


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockLayout:
    """Where a block stands: its widths, heads, window (0: the whole map), and whether it opens a stage by pooling."""

    in_channels: int
    out_channels: int
    num_heads: int
    window: int
    pools: bool
    drop_path: float


def block_layouts(config: Sam2HieraDetConfig) -> list[BlockLayout]:
    """One entry per block of the trunk. A pooling block works in the windows of the stage it comes from."""
    total = sum(config.blocks_per_stage)
    layouts: list[BlockLayout] = []
    for stage, num_blocks in enumerate(config.blocks_per_stage):
        for block in range(num_blocks):
            pools = stage > 0 and block == 0
            index = len(layouts)
            window = config.window_size_per_stage[stage - 1 if pools else stage]
            layouts.append(
                BlockLayout(
                    in_channels=config.embed_dim_per_stage[stage - 1 if pools else stage],
                    out_channels=config.embed_dim_per_stage[stage],
                    num_heads=config.num_attention_heads_per_stage[stage],
                    window=0 if index in config.global_attention_blocks else window,
                    pools=pools,
                    drop_path=config.drop_path_rate * index / max(total - 1, 1),
                )
            )
    return layouts


def stage_ends(config: Sam2HieraDetConfig) -> list[int]:
    """Index of the last block of every stage."""
    return [sum(config.blocks_per_stage[: stage + 1]) - 1 for stage in range(len(config.blocks_per_stage))]


def pool_2x2(feature_map: Tensor) -> Tensor:
    """Maximum over 2 x 2 cells of a channels-last map: (n, height, width, c) to (n, height / 2, width / 2, c)."""
    return F.max_pool2d(feature_map.permute(0, 3, 1, 2), kernel_size=2, stride=2).permute(0, 2, 3, 1)


def cut_windows(feature_map: Tensor, window: int) -> tuple[Tensor, tuple[int, int]]:
    """Pads with zeros at the bottom and right and cuts into windows.

    Returns:
        (batch * windows, window, window, channels), picture by picture and row by row; the padded (height, width).
    """
    _, height, width, _ = feature_map.shape
    pad_bottom, pad_right = -height % window, -width % window
    padded = F.pad(feature_map, (0, 0, 0, pad_right, 0, pad_bottom)) if pad_bottom or pad_right else feature_map
    cells = padded.unflatten(2, (-1, window)).unflatten(1, (-1, window))  # (b, rows, window, columns, window, c)
    return cells.transpose(2, 3).flatten(0, 2), (padded.shape[1], padded.shape[2])


def join_windows(windows: Tensor, padded: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Undoes `cut_windows`: back to (batch, height, width, channels), without the padding."""
    window = windows.shape[1]
    rows, columns = padded[0] // window, padded[1] // window
    cells = windows.unflatten(0, (-1, rows, columns)).transpose(2, 3)
    return cells.flatten(3, 4).flatten(1, 2)[:, : size[0], : size[1]]


def in_strips(step: Callable[[Tensor], Tensor], feature_map: Tensor, rows: int) -> Tensor:
    """A step that does not look beyond strips of so many rows, strip by strip: (n, height, width, c) to the same."""
    return torch.cat([step(strip) for strip in feature_map.split(rows, dim=1)], dim=1)


class Sam2PatchEmbedding(nn.Module):
    """Overlapping patches at stride 4: (batch, 3, height, width) to (batch, height / 4, width / 4, channels)."""

    def __init__(self, config: Sam2HieraDetConfig):
        super().__init__()
        self.projection = nn.Conv2d(
            config.num_channels,
            config.hidden_size,
            kernel_size=as_pair(config.patch_kernel_size),
            stride=as_pair(config.patch_stride),
            padding=as_pair(config.patch_padding),
        )

    def forward(self, pixel_values: Tensor) -> Tensor:
        pixels = pixel_values.contiguous(memory_format=torch.channels_last)  # so that the map comes channels last too
        return self.projection(pixels).permute(0, 2, 3, 1)


class Sam2HieraAttention(nn.Module):
    """Attention over one window (or the whole map), with pooled queries where a stage begins."""

    def __init__(self, config: Sam2HieraDetConfig, layout: BlockLayout):
        super().__init__()
        self.config = config
        self.num_heads = layout.num_heads
        self.pools = layout.pools
        self.qkv = nn.Linear(layout.in_channels, 3 * layout.out_channels)
        self.proj = nn.Linear(layout.out_channels, layout.out_channels)

    def forward(self, windows: Tensor, **kwargs) -> tuple[Tensor, Tensor | None]:
        """(n, height, width, in_channels) to (n, height', width', out_channels) and the attention weights."""
        query, key, value = linear(self.qkv, windows).chunk(3, dim=-1)
        if self.pools:
            query = pool_2x2(query)
        height, width = query.shape[1:3]
        query, key, value = (
            part.flatten(1, 2).unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in (query, key, value)
        )
        attended, weights = attend(self, self.config, query, key, value, **kwargs)
        return linear(self.proj, attended).unflatten(1, (height, width)), weights


class Sam2HieraBlock(GradientCheckpointingLayer):
    """Pre-norm transformer block; in a pooling block the shortcut is projected and pooled too."""

    def __init__(self, config: Sam2HieraDetConfig, layout: BlockLayout):
        super().__init__()
        self.window = layout.window
        self.pools = layout.pools
        self.layer_norm1 = nn.LayerNorm(layout.in_channels, eps=config.layer_norm_eps)
        self.attn = Sam2HieraAttention(config, layout)
        self.drop_path = DropPath(layout.drop_path)
        self.layer_norm2 = nn.LayerNorm(layout.out_channels, eps=config.layer_norm_eps)
        hidden_channels = int(layout.out_channels * config.mlp_ratio)
        self.mlp = MLP(layout.out_channels, hidden_channels, layout.out_channels, 2, config.hidden_act)
        if layout.in_channels != layout.out_channels:
            self.proj = nn.Linear(layout.in_channels, layout.out_channels)

    def forward(self, hidden_states: Tensor, **kwargs) -> tuple[Tensor, Tensor | None]:
        rows = self._rows_at_once(hidden_states)
        if rows >= hidden_states.shape[1]:
            attended, weights = self._attend(hidden_states, **kwargs)
            return self._feed_forward(attended), weights
        if not self.window:
            attended, _ = self._attend(hidden_states, **kwargs)
            return in_strips(self._feed_forward, attended, rows), None
        return in_strips(lambda strip: self._feed_forward(self._attend(strip, **kwargs)[0]), hidden_states, rows), None

    def _rows_at_once(self, hidden_states: Tensor) -> int:
        """Rows of the map that go through the block together: on a CPU as many whole windows as fit its caches.

        Windows do not see each other, so a strip of them gives what the whole map gives; every row is on its own in
        the feed-forward part.
        """
        batch, height, width, _ = hidden_states.shape
        is_on_cpu = hidden_states.device.type == "cpu" == self.attn.qkv.weight.device.type
        is_recorded = torch.is_grad_enabled() or torch.compiler.is_compiling() or is_eager(self.attn.config)
        if not is_on_cpu or is_recorded:
            return height
        window = self.window or 1
        return window * max(1, STRIP_TOKENS * torch.get_num_threads() // (batch * width * window))

    def _attend(self, hidden_states: Tensor, **kwargs) -> tuple[Tensor, Tensor | None]:
        normed = self.layer_norm1(hidden_states)
        shortcut = pool_2x2(linear(self.proj, normed)) if self.pools else hidden_states
        attended, weights = self._attend_in_windows(normed, size=tuple(shortcut.shape[1:3]), **kwargs)
        return shortcut + self.drop_path(attended), weights

    def _feed_forward(self, hidden_states: Tensor) -> Tensor:
        return hidden_states + self.drop_path(self.mlp(self.layer_norm2(hidden_states)))

    def _attend_in_windows(self, normed: Tensor, size: tuple[int, int], **kwargs) -> tuple[Tensor, Tensor | None]:
        if self.window == 0:
            return self.attn(normed, **kwargs)
        windows, padded = cut_windows(normed, self.window)
        attended, weights = self.attn(windows, **kwargs)
        if self.pools:
            padded = (padded[0] // 2, padded[1] // 2)
        return join_windows(attended, padded, size), weights


class Sam2HieraTrunk(nn.Module):
    """Pixels to the maps of four stages, strides 4, 8, 16 and 32."""

    def __init__(self, config: Sam2HieraDetConfig):
        super().__init__()
        self.config = config
        self.patch_embed = Sam2PatchEmbedding(config)
        background = as_pair(config.window_positional_embedding_background_size)
        window = (WINDOW_EMBEDDING_SIZE, WINDOW_EMBEDDING_SIZE)
        self.pos_embed = nn.Parameter(torch.zeros(1, config.hidden_size, *background))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, config.hidden_size, *window))
        self.blocks = nn.ModuleList(Sam2HieraBlock(config, layout) for layout in block_layouts(config))
        self.stage_ends = stage_ends(config)
        self._position = Remembered()

    def position_embedding(self, height: int, width: int) -> Tensor:
        """The embedding of a grid: a resized background plus a repeated window, (1, height, width, channels)."""
        return self._position.of((height, width), (self.pos_embed, self.pos_embed_window), self._embed_positions)

    def _embed_positions(self, height: int, width: int) -> Tensor:
        background = F.interpolate(self.pos_embed.float(), size=(height, width), mode="bicubic", align_corners=False)
        window = self.pos_embed_window.float()
        repeats = (1, 1, height // window.shape[2], width // window.shape[3])
        return (background + window.tile(repeats)).to(self.pos_embed.dtype).permute(0, 2, 3, 1).contiguous()

    def forward(self, pixel_values: Tensor, **kwargs) -> tuple[Tensor, ...]:
        """(batch, 3, height, width) to four maps (batch, height, width, channels), finest first."""
        hidden_states = self.patch_embed(pixel_values)
        hidden_states = hidden_states + self.position_embedding(*hidden_states.shape[1:3])
        levels = []
        for index, block in enumerate(self.blocks):
            hidden_states, _ = block(hidden_states, **kwargs)
            if index in self.stage_ends:
                levels.append(hidden_states)
        return tuple(levels)
