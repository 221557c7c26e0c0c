"""Small layers that several parts share, the attention call among them."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.activations import ACT2FN
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from sam2_hf.modeling.fused import FUSED, linear

TRANSFORMER_LAYER_NORM_EPS = 1e-5  # of both transformers, unlike the trunk's and the maps' 1e-6; in every release


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of a map (batch, channels, height, width)."""

    def forward(self, feature_map: Tensor) -> Tensor:
        channels_last = feature_map.permute(0, 2, 3, 1)
        return super().forward(channels_last).permute(0, 3, 1, 2)


class MLP(nn.Module):
    """`num_layers` linear layers with an activation between them and none after the last."""

    def __init__(
        self, in_channels: int, hidden_channels: int, out_channels: int, num_layers: int, activation: str = "relu"
    ):
        super().__init__()
        self.activation = ACT2FN[activation]
        self._fused = activation if activation in FUSED else None
        self.proj_in = nn.Linear(in_channels, hidden_channels)
        self.layers = nn.ModuleList(nn.Linear(hidden_channels, hidden_channels) for _ in range(num_layers - 2))
        self.proj_out = nn.Linear(hidden_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.proj_in, *self.layers):
            x = self.activation(layer(x)) if self._fused is None else linear(layer, x, self._fused)
        return linear(self.proj_out, x)


class DropPath(nn.Module):
    """Stochastic depth: drops the whole branch of a sample with probability `rate`, in training only."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return branch
        keep = 1.0 - self.rate
        kept = torch.empty(branch.shape[0], *[1] * (branch.dim() - 1), device=branch.device).bernoulli_(keep)
        return branch * (kept / keep).to(branch.dtype)


def eager_attention_forward(module, query, key, value, attention_mask=None, scaling=1.0, dropout=0.0, **kwargs):
    """Attention in plain operations, the one implementation that returns its weights."""
    scores = query @ key.transpose(-2, -1) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = F.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = F.dropout(weights, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


def attend(
    module: nn.Module,
    config: PreTrainedConfig,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout: float = 0.0,
    **kwargs,
) -> tuple[Tensor, Tensor | None]:
    """Attention without a mask through the library's interface (eager, sdpa, flash, ...).

    Args:
        module: the calling module; its training mode switches dropout on.
        config: names the implementation, read at every call so that `set_attn_implementation` takes effect.
        query, key, value: (rows, heads, tokens, head_channels).
        dropout: rate on the attention weights, in training only.

    Returns:
        (rows, tokens, heads * head_channels), and the weights (rows, heads, queries, keys) or None.
    """
    attention = ALL_ATTENTION_FUNCTIONS.get_interface(config._attn_implementation, eager_attention_forward)
    dropout = dropout if module.training else 0.0
    scaling = query.shape[-1] ** -0.5
    output, weights = attention(
        module, query, key, value, None, scaling=scaling, dropout=dropout, is_causal=False, **kwargs
    )
    return output.flatten(2), weights


def is_eager(config: PreTrainedConfig) -> bool:
    """Whether attention is written out, which is asked for where its weights are recorded."""
    return config._attn_implementation == "eager"


def split_heads(tokens: Tensor, num_heads: int) -> Tensor:
    """(rows, tokens, channels) to (rows, heads, tokens, head_channels)."""
    return tokens.unflatten(-1, (num_heads, -1)).transpose(1, 2)


class Remembered:
    """A tensor that follows from a few small weights alone, kept on a CPU while their values stay what they are.

    Values are compared, not versions: `parameter.data` may be changed without a trace. It is made anew where gradients
    are wanted and while a graph is recorded.
    """

    def __init__(self):
        self._made_of: tuple[Tensor, ...] = ()
        self._size: tuple[int, int] | None = None
        self._value: Tensor | None = None

    def of(self, size: tuple[int, int], weights: tuple[Tensor, ...], make: Callable[[int, int], Tensor]) -> Tensor:
        """What `make(height, width)` returns.

        Args:
            size: (height, width).
            weights: that it follows from.
        """
        is_recorded = torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing()
        if is_recorded or any(one.device.type != "cpu" for one in weights):
            return make(*size)
        if self._value is None or self._size != size or not self._is_made_of(weights):
            with torch.inference_mode(False), torch.no_grad():  # so that what is learned later may read it
                self._made_of, self._size = tuple(one.detach().clone() for one in weights), size
                self._value = make(*size)
        return self._value

    def _is_made_of(self, weights: tuple[Tensor, ...]) -> bool:
        pairs = zip(self._made_of, weights, strict=True)
        return all(old.dtype == new.dtype and torch.equal(old, new) for old, new in pairs)

    def __deepcopy__(self, memo) -> "Remembered":
        return Remembered()

    def __reduce__(self):
        return Remembered, ()


def all_rows(embedding: nn.Embedding, device: torch.device) -> Tensor:
    """The whole table of an embedding, read through its forward so that offloaded weights are brought in."""
    return embedding(torch.arange(embedding.num_embeddings, device=device))


def share(values: Tensor, rows: int) -> Tensor:
    """Repeats each entry of the first axis for its objects: (batch, ...) to (rows, ...); a view for one picture."""
    if values.shape[0] == rows:
        return values
    return values.unsqueeze(1).expand(-1, rows // values.shape[0], *values.shape[1:]).flatten(0, 1)


def add_shared(per_object: Tensor, per_image: Tensor) -> Tensor:
    """(rows, ...) + (batch, ...) without repeating the right side in memory."""
    batch = per_image.shape[0]
    if batch in (1, per_object.shape[0]):
        return per_object + per_image
    return (per_object.unflatten(0, (batch, -1)) + per_image.unsqueeze(1)).flatten(0, 1)
