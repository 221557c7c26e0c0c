"""Prompt tokens and image tokens, attending to each other in both directions.

The image tokens of a picture are shared by its objects until a layer has written into them, so keys and values of the
first layer are projected once per picture.
"""

from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from sam2_hf.modeling.configuration import Sam2MaskDecoderConfig
from sam2_hf.modeling.fused import linear
from sam2_hf.modeling.layers import MLP, TRANSFORMER_LAYER_NORM_EPS, add_shared, attend, share, split_heads

TRANSFORMER_ACTIVATION = "relu"


class Sam2TwoWayAttention(nn.Module):
    """Multi-head attention in an inner width of `hidden_size / downsample_rate`."""

    def __init__(self, config: Sam2MaskDecoderConfig, downsample_rate: int = 1):
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        inner = config.hidden_size // downsample_rate
        self.q_proj = nn.Linear(config.hidden_size, inner)
        self.k_proj = nn.Linear(config.hidden_size, inner)
        self.v_proj = nn.Linear(config.hidden_size, inner)
        self.o_proj = nn.Linear(inner, config.hidden_size)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, **kwargs) -> tuple[Tensor, Tensor | None]:
        """(rows or batch, tokens, channels) each; sides of fewer rows are shared after their projection."""
        rows = max(query.shape[0], key.shape[0])
        projected = (linear(self.q_proj, query), linear(self.k_proj, key), linear(self.v_proj, value))
        query, key, value = (share(split_heads(tokens, self.num_heads), rows) for tokens in projected)
        attended, weights = attend(self, self.config, query, key, value, **kwargs)
        return linear(self.o_proj, attended), weights


class Sam2TwoWayBlock(GradientCheckpointingLayer):
    """Self-attention of tokens, tokens to image, MLP, image to tokens."""

    def __init__(self, config: Sam2MaskDecoderConfig, skip_first_position: bool):
        super().__init__()
        channels, rate = config.hidden_size, config.attention_downsample_rate
        self.skip_first_position = skip_first_position
        self.self_attn = Sam2TwoWayAttention(config)
        self.cross_attn_token_to_image = Sam2TwoWayAttention(config, rate)
        self.mlp = MLP(channels, config.mlp_dim, channels, 2, TRANSFORMER_ACTIVATION)
        self.cross_attn_image_to_token = Sam2TwoWayAttention(config, rate)
        for index in range(1, 5):
            setattr(self, f"layer_norm{index}", nn.LayerNorm(channels, eps=TRANSFORMER_LAYER_NORM_EPS))

    def forward(
        self, tokens: Tensor, image: Tensor, token_position: Tensor, image_position: Tensor, **kwargs
    ) -> tuple[Tensor, Tensor]:
        """Updates tokens (rows, tokens, channels) and image tokens (batch or rows, pixels, channels)."""
        if self.skip_first_position:  # the first layer has neither positions nor a residual here
            tokens, _ = self.self_attn(tokens, tokens, tokens, **kwargs)
        else:
            positioned = tokens + token_position
            tokens = tokens + self.self_attn(positioned, positioned, tokens, **kwargs)[0]
        tokens = self.layer_norm1(tokens)

        keys = image + image_position
        tokens = tokens + self.cross_attn_token_to_image(tokens + token_position, keys, image, **kwargs)[0]
        tokens = self.layer_norm2(tokens)
        tokens = self.layer_norm3(tokens + self.mlp(tokens))

        written, _ = self.cross_attn_image_to_token(keys, tokens + token_position, tokens, **kwargs)
        return tokens, self.layer_norm4(add_shared(written, image))


class Sam2TwoWayTransformer(nn.Module):
    """The layers, and one last look from the tokens at the image."""

    def __init__(self, config: Sam2MaskDecoderConfig):
        super().__init__()
        self.layers = nn.ModuleList(
            Sam2TwoWayBlock(config, skip_first_position=index == 0) for index in range(config.num_hidden_layers)
        )
        self.final_attn_token_to_image = Sam2TwoWayAttention(config, config.attention_downsample_rate)
        self.layer_norm_final_attn = nn.LayerNorm(config.hidden_size, eps=TRANSFORMER_LAYER_NORM_EPS)

    def forward(self, tokens: Tensor, image: Tensor, image_position: Tensor, **kwargs) -> tuple[Tensor, Tensor]:
        """Tokens (rows, tokens, channels) and image tokens (batch or rows, pixels, channels), both updated."""
        token_position = tokens  # the original tokens are the query position of every layer
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_position, image_position, **kwargs)
        positioned = tokens + token_position
        attended, _ = self.final_attn_token_to_image(positioned, image + image_position, image, **kwargs)
        return self.layer_norm_final_attn(tokens + attended), image
