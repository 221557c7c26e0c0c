"""A frame and an object's mask on it, fused into what will be remembered."""

from itertools import pairwise

from torch import Tensor, nn
from transformers.activations import ACT2FN

from sam2_hf.modeling.configuration import Sam2Config
from sam2_hf.modeling.layers import LayerNorm2d, add_shared

MAP_LAYER_NORM_EPS = 1e-6


class Sam2MaskDownsamplerLayer(nn.Module):
    """Halves the mask and widens it by the area of its stride, so that no information has to go."""

    def __init__(self, config: Sam2Config, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size=config.mask_downsampler_kernel_size,
            stride=config.mask_downsampler_stride,
            padding=config.mask_downsampler_padding,
        )
        self.layer_norm = LayerNorm2d(out_channels, eps=MAP_LAYER_NORM_EPS)
        self.activation = ACT2FN[config.mask_downsampler_hidden_act]

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.layer_norm(self.conv(x)))


class Sam2MaskDownsampler(nn.Module):
    """(rows, 1, 16 height, 16 width) to (rows, channels, height, width)."""

    def __init__(self, config: Sam2Config):
        super().__init__()
        stride = config.mask_downsampler_stride
        widths = [1]
        while stride ** len(widths) <= config.mask_downsampler_total_stride:
            widths.append(widths[-1] * stride**2)
        self.layers = nn.ModuleList(Sam2MaskDownsamplerLayer(config, narrow, wide) for narrow, wide in pairwise(widths))
        self.final_conv = nn.Conv2d(widths[-1], config.mask_downsampler_embed_dim, kernel_size=1)

    def forward(self, masks: Tensor) -> Tensor:
        for layer in self.layers:
            masks = layer(masks)
        return self.final_conv(masks)


class Sam2MemoryFuserBlock(nn.Module):
    """ConvNeXt block: depthwise convolution, norm, two pointwise layers, a scale per channel (Liu et al. 2022)."""

    def __init__(self, config: Sam2Config):
        super().__init__()
        channels = config.memory_fuser_embed_dim
        kernel, padding = config.memory_fuser_kernel_size, config.memory_fuser_padding
        self.initial_scale = config.memory_fuser_layer_scale_init_value
        self.depthwise_conv = nn.Conv2d(channels, channels, kernel, padding=padding, groups=channels)
        self.layer_norm = nn.LayerNorm(channels, eps=MAP_LAYER_NORM_EPS)
        self.pointwise_conv1 = nn.Linear(channels, config.memory_fuser_intermediate_dim)
        self.activation = ACT2FN[config.memory_fuser_hidden_act]
        self.pointwise_conv2 = nn.Linear(config.memory_fuser_intermediate_dim, channels)
        self.scale = nn.Parameter(self.initial_scale * self.layer_norm.weight.new_ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        branch = self.depthwise_conv(x).permute(0, 2, 3, 1)
        branch = self.pointwise_conv2(self.activation(self.pointwise_conv1(self.layer_norm(branch))))
        return x + (self.scale * branch).permute(0, 3, 1, 2)


class Sam2MemoryFuser(nn.Module):
    """The blocks in a row."""

    def __init__(self, config: Sam2Config):
        super().__init__()
        self.layers = nn.ModuleList(Sam2MemoryFuserBlock(config) for _ in range(config.memory_fuser_num_layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class Sam2MemoryEncoder(nn.Module):
    """Raw image features plus mask to spatial memory."""

    def __init__(self, config: Sam2Config):
        super().__init__()
        channels = config.memory_encoder_hidden_size
        self.mask_downsampler = Sam2MaskDownsampler(config)
        self.feature_projection = nn.Conv2d(channels, channels, kernel_size=1)
        self.memory_fuser = Sam2MemoryFuser(config)
        self.projection = nn.Conv2d(channels, config.memory_encoder_output_channels, kernel_size=1)

    def forward(self, image_embedding: Tensor, masks: Tensor) -> Tensor:
        """Encodes masks on their frames.

        Args:
            image_embedding: (batch or rows, channels, height, width), raw.
            masks: (rows, 1, 16 height, 16 width), already scaled and biased.

        Returns:
            (rows, memory_channels, height, width).
        """
        x = add_shared(self.mask_downsampler(masks), self.feature_projection(image_embedding))
        return self.projection(self.memory_fuser(x))
