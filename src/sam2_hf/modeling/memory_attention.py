"""Image tokens looking at what is remembered: self-attention, cross-attention to memory, feed-forward.

Positions are rotary. Memory tokens of every frame get the rotation of their place on the grid; object pointers have no
place and stay unrotated.
"""

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer

from sam2_hf.modeling.blocked_attention import blocked_attention
from sam2_hf.modeling.compiling import compilable, is_compiled
from sam2_hf.modeling.configuration import Sam2Config
from sam2_hf.modeling.fused import is_free, linear
from sam2_hf.modeling.layers import TRANSFORMER_LAYER_NORM_EPS, add_shared, attend, share, split_heads
from sam2_hf.modeling.position_embedding import AxialRotaryTable

CURRENT_POSITION_WEIGHT = 0.1  # of the sine encoding of the current frame; the same in every release


class Sam2RotaryAttention(nn.Module):
    """Attention whose queries and grid keys are rotated. Keys and values may have another width."""

    def __init__(self, config: Sam2Config, memory_channels: int):
        super().__init__()
        self.config = config
        self.num_heads = config.memory_attention_num_attention_heads
        self.dropout = config.memory_attention_rope_dropout
        channels = config.memory_attention_hidden_size
        inner = channels // config.memory_attention_downsample_rate
        self.q_proj = nn.Linear(channels, inner)
        self.k_proj = nn.Linear(memory_channels, inner)
        self.v_proj = nn.Linear(memory_channels, inner)
        self.o_proj = nn.Linear(inner, channels)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        rotary: AxialRotaryTable,
        num_pointer_tokens: int = 0,
        places: Tensor | None = None,
        **kwargs,
    ) -> Tensor:
        """Attends from (rows, pixels, channels) to keys of whole frames of pixels and, last, pointer tokens.

        Args:
            places: (tokens,) of the keys, as `AxialRotaryTable.places` gives them, instead of the number of pointers.
        """
        rows = max(query.shape[0], key.shape[0])
        query = rotary(split_heads(linear(self.q_proj, query), self.num_heads))
        key = split_heads(linear(self.k_proj, key), self.num_heads)
        key = self._rotate_frames(key, rotary, num_pointer_tokens) if places is None else rotary.at(key, places)
        if self._aggregates_first(query, value):
            attended = blocked_attention(share(query, rows)[:, 0], share(key, rows)[:, 0], share(value, rows))
            return linear(self.o_proj, linear(self.v_proj, attended))
        value = split_heads(linear(self.v_proj, value), self.num_heads)
        query, key, value = (share(part, rows) for part in (query, key, value))
        attended, _ = attend(self, self.config, query, key, value, self.dropout, **kwargs)
        return linear(self.o_proj, attended)

    def _aggregates_first(self, query: Tensor, value: Tensor) -> bool:
        """Whether values are added up as they are remembered and projected afterwards: the same, since weights sum to
        1, and less work where they are narrower than keys. Half precision has kernels that are faster still."""
        is_plain = is_free(self.v_proj, value) and self.config._attn_implementation == "sdpa"
        return is_plain and self.num_heads == 1 and value.dtype == torch.float32 and value.shape[-1] < query.shape[-1]

    @staticmethod
    def _rotate_frames(key: Tensor, rotary: AxialRotaryTable, num_pointer_tokens: int) -> Tensor:
        pixels = rotary.height * rotary.width
        spatial, pointers = key.split([key.shape[2] - num_pointer_tokens, num_pointer_tokens], dim=2)
        if key.device.type == "cpu":  # frame by frame, which stays in the caches
            frames = [rotary(frame) for frame in spatial.split(pixels, dim=2)]
        else:
            frames = [rotary(spatial.unflatten(2, (-1, pixels))).flatten(2, 3)]
        return torch.cat((*frames, pointers), dim=2)


class Sam2MemoryAttentionLayer(GradientCheckpointingLayer):
    """Pre-norm layer: self-attention, attention to memory, feed-forward."""

    def __init__(self, config: Sam2Config):
        super().__init__()
        channels, hidden = config.memory_attention_hidden_size, config.memory_attention_feed_forward_hidden_size
        self.self_attn = Sam2RotaryAttention(config, channels)
        self.cross_attn_image = Sam2RotaryAttention(config, config.memory_encoder_output_channels)
        self.linear1 = nn.Linear(channels, hidden)
        self.linear2 = nn.Linear(hidden, channels)
        self.activation = ACT2FN[config.memory_attention_feed_forward_hidden_act]
        self.is_relu = config.memory_attention_feed_forward_hidden_act == "relu"
        self.dropout = nn.Dropout(config.memory_attention_dropout)
        for index in range(1, 4):
            setattr(self, f"layer_norm{index}", nn.LayerNorm(channels, eps=TRANSFORMER_LAYER_NORM_EPS))

    def forward(
        self,
        current: Tensor,
        memory: Tensor,
        memory_position: Tensor,
        rotary: AxialRotaryTable,
        num_pointer_tokens: int,
        places: Tensor | None = None,
        **kwargs,
    ) -> Tensor:
        normed = self.layer_norm1(current)
        current = current + self.dropout(self.self_attn(normed, normed, normed, rotary, **kwargs))
        normed = self.layer_norm2(current)
        remembered = (memory + memory_position, memory, rotary, num_pointer_tokens, places)
        recalled = self.cross_attn_image(normed, *remembered, **kwargs)
        current = add_shared(self.dropout(recalled), current)
        hidden = self.dropout(self._activated(self.layer_norm3(current)))
        return current + self.dropout(linear(self.linear2, hidden))

    def _activated(self, normed: Tensor) -> Tensor:
        return linear(self.linear1, normed, "relu") if self.is_relu else self.activation(self.linear1(normed))


class Sam2MemoryAttention(nn.Module):
    """The layers, and the norm behind them."""

    def __init__(self, config: Sam2Config):
        super().__init__()
        channels = config.memory_attention_hidden_size
        head_channels = (
            channels // config.memory_attention_downsample_rate // config.memory_attention_num_attention_heads
        )
        self.layers = nn.ModuleList(Sam2MemoryAttentionLayer(config) for _ in range(config.memory_attention_num_layers))
        self.layer_norm = nn.LayerNorm(channels, eps=TRANSFORMER_LAYER_NORM_EPS)
        self.rotary_emb = AxialRotaryTable(
            head_channels, *config.memory_attention_rope_feat_sizes, theta=config.rope_parameters["rope_theta"]
        )

    def forward(
        self,
        current: Tensor,
        current_position: Tensor,
        memory: Tensor,
        memory_position: Tensor,
        num_pointer_tokens: int,
        **kwargs,
    ) -> Tensor:
        """Conditions the current frame on memory; until a layer has looked at it, objects share what is computed.

        Args:
            current: (batch or rows, pixels, channels), raw stride-16 tokens.
            current_position: sine encoding of the current frame, broadcastable to `current`.
            memory: (rows, frames * pixels + pointer tokens, memory_channels), pointer tokens last.
            memory_position: as `memory`.
            num_pointer_tokens: how many tokens at the end of memory are pointers.

        Returns:
            (rows, pixels, channels).
        """
        current = current + CURRENT_POSITION_WEIGHT * current_position
        if self.training:  # objects of a picture draw their dropout one by one
            current = share(current, memory.shape[0])
        places = None
        if is_compiled(self, kwargs):  # numbers become part of a graph, tensors do not
            places = self.rotary_emb.places(memory.shape[1], num_pointer_tokens)
            num_pointer_tokens = 0
            current, memory, memory_position = (one.contiguous() for one in (current, memory, memory_position))
        return self._look(current, memory, memory_position, num_pointer_tokens, places, **kwargs)

    @compilable("memory_attention", current=(0,), memory=(0, 1), memory_position=(0, 1), places=(0,))
    def _look(
        self,
        current: Tensor,
        memory: Tensor,
        memory_position: Tensor,
        num_pointer_tokens: int,
        places: Tensor | None,
        **kwargs,
    ) -> Tensor:
        for layer in self.layers:
            current = layer(current, memory, memory_position, self.rotary_emb, num_pointer_tokens, places, **kwargs)
        return self.layer_norm(current)
