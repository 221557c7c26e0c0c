"""The feature pyramid behind the trunk."""

import torch.nn.functional as F
from torch import Tensor, nn

from sam2_hf.modeling.configuration import Sam2VisionConfig
from sam2_hf.modeling.fused import pointwise


class Sam2Neck(nn.Module):
    """Projects the four stages to one width; the deepest stage is added to the one below it and then dropped."""

    def __init__(self, config: Sam2VisionConfig):
        super().__init__()
        channels = config.fpn_hidden_size
        self.convs = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in config.backbone_channel_list)

    def forward(self, levels: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """Four maps (batch, height, width, c), finest first, to three (batch, channels, height, width)."""
        coarsest_first = reversed(levels)
        stride_32, stride_16, stride_8, stride_4 = (
            pointwise(conv, level).permute(0, 3, 1, 2) for conv, level in zip(self.convs, coarsest_first, strict=True)
        )
        top_down = F.interpolate(stride_32.float(), scale_factor=2.0, mode="nearest").to(stride_16.dtype)
        return stride_4, stride_8, stride_16 + top_down
