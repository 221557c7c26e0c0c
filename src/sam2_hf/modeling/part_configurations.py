# Copyright 2026 The sam2_hf authors. Licensed under the Apache License, Version 2.0.
"""Configurations of the parts of SAM 2: trunk, image encoder, prompt encoder, mask decoder."""

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

# The same in every release and in every checkpoint that can be loaded, so they are not fields.
PATCH_STRIDE = 4  # pixels between two tokens of the trunk's first stage
GRID_STRIDE = 16  # pixels between two tokens of the image embedding
COARSEST_STRIDE = 32  # pixels between two tokens of the trunk's last stage
NUM_STAGES = 4
WINDOW_EMBEDDING_SIZE = 8  # side of `pos_embed_window`; the stride-4 grid must be a multiple of it


def as_pair(value: int | Sequence[int], field: str = "size") -> tuple[int, int]:
    """``7`` or ``[7, 7]`` as ``(7, 7)``; the field is named where it is neither."""
    if isinstance(value, int):
        return value, value
    require(len(value) == 2, field, value, "it must be one number or two")
    return int(value[0]), int(value[1])


def require(condition: bool, field: str, value: Any, rule: str) -> None:
    if not condition:
        raise ValueError(f"`{field}` is {value!r}, but {rule}")


def require_activations(config: PreTrainedConfig) -> None:
    """Refuses activations that the library does not know."""
    from transformers.activations import ACT2FN

    for field in (field for field in type(config).__annotations__ if field.endswith("hidden_act")):
        rule = "there is no such activation; the published ones are relu and gelu"
        require(getattr(config, field) in ACT2FN, field, getattr(config, field), rule)


def require_positive(config: PreTrainedConfig, *fields: str) -> None:
    for field in fields:
        value = getattr(config, field)
        numbers = value if isinstance(value, (list, tuple)) else [value]
        require(all(number > 0 for number in numbers), field, value, "it must be positive")


@strict
class Sam2HieraDetConfig(PreTrainedConfig):
    """The image trunk, a hierarchical vision transformer in four stages (Hiera).

    Args:
        hidden_size: channels after the patch embedding, equal to the first of ``embed_dim_per_stage``.
        num_attention_heads: heads of the first stage; only ``num_attention_heads_per_stage`` is read.
        num_channels: channels of the picture.
        image_size: side of the square input in pixels, a multiple of 32.
        patch_kernel_size, patch_stride, patch_padding: the patch embedding; the stride is 4 in every checkpoint.
        query_stride: pooling between two stages, always 2.
        window_positional_embedding_background_size: grid of the stored position embedding, ``[height, width]``.
        num_query_pool_stages: stages that begin with pooling, always the last three.
        blocks_per_stage, embed_dim_per_stage, num_attention_heads_per_stage, window_size_per_stage: one per stage.
        global_attention_blocks: blocks that attend over the whole map instead of windows.
        mlp_ratio: hidden width of the MLPs over the block's width.
        drop_path_rate: rate of the last block in training; the blocks before it rise to it linearly from 0.

    Raises:
        ValueError: a value that no SAM 2 trunk can have; the message names field, value and rule.
    """

    model_type = "sam2_hiera_det_model"
    base_config_key = "backbone_config"

    hidden_size: int = 96
    num_attention_heads: int = 1
    num_channels: int = 3
    image_size: int | list[int] | tuple[int, ...] = 1024
    patch_kernel_size: int | list[int] | tuple[int, ...] = 7
    patch_stride: int | list[int] | tuple[int, ...] = 4
    patch_padding: int | list[int] | tuple[int, ...] = 3
    query_stride: int | list[int] | tuple[int, ...] = 2
    window_positional_embedding_background_size: int | list[int] | tuple[int, ...] = 7
    num_query_pool_stages: int = 3
    blocks_per_stage: list[int] | tuple[int, ...] = (1, 2, 7, 2)
    embed_dim_per_stage: list[int] | tuple[int, ...] = (96, 192, 384, 768)
    num_attention_heads_per_stage: list[int] | tuple[int, ...] = (1, 2, 4, 8)
    window_size_per_stage: list[int] | tuple[int, ...] = (8, 4, 14, 7)
    global_attention_blocks: list[int] | tuple[int, ...] = (5, 7, 9)
    mlp_ratio: int | float = 4.0
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6
    initializer_range: float = 0.02
    drop_path_rate: float = 0.0

    def __post_init__(self, **kwargs):
        for field in (
            *("image_size", "patch_kernel_size", "patch_stride", "patch_padding", "query_stride"),
            "window_positional_embedding_background_size",
        ):
            setattr(
                self, field, list(as_pair(getattr(self, field), field))
            )  # as published: the library's model wants pairs
        per_stage = (
            "blocks_per_stage",
            "embed_dim_per_stage",
            "num_attention_heads_per_stage",
            "window_size_per_stage",
        )
        for field in (*per_stage, "global_attention_blocks"):
            setattr(self, field, list(getattr(self, field)))
        super().__post_init__(**kwargs)
        require_activations(self)
        self._validate_geometry()
        self._validate_stages(per_stage)

    def _validate_geometry(self) -> None:
        require_positive(self, "image_size", "num_channels", "patch_kernel_size")
        size = self.image_size
        require(size[0] == size[1], "image_size", size, "the input of SAM 2 is square")
        require(size[0] % COARSEST_STRIDE == 0, "image_size", size[0], f"it must be a multiple of {COARSEST_STRIDE}")
        require(
            self.patch_stride == [PATCH_STRIDE] * 2, "patch_stride", self.patch_stride, f"it must be {PATCH_STRIDE}"
        )
        require(
            self.query_stride == [2, 2], "query_stride", self.query_stride, "every stage halves the map: it must be 2"
        )
        stages = self.num_query_pool_stages
        require(stages == NUM_STAGES - 1, "num_query_pool_stages", stages, "stages 2, 3 and 4 pool: it must be 3")

    def _validate_stages(self, per_stage: tuple[str, ...]) -> None:
        for field in per_stage:
            value = getattr(self, field)
            require(len(value) == NUM_STAGES, field, value, f"it needs one number for each of {NUM_STAGES} stages")
            require_positive(self, field)
        widths, heads = self.embed_dim_per_stage, self.num_attention_heads_per_stage
        require(
            self.hidden_size == widths[0], "hidden_size", self.hidden_size, f"embed_dim_per_stage starts at {widths[0]}"
        )
        for width, num_heads in zip(widths, heads, strict=True):
            require(
                width % num_heads == 0, "num_attention_heads_per_stage", heads, f"{num_heads} does not divide {width}"
            )
        for window in self.window_size_per_stage[:-1]:
            rule = "the windows of stages 1 to 3 are pooled by 2 and must be even"
            require(window % 2 == 0, "window_size_per_stage", self.window_size_per_stage, rule)
        blocks, total = self.global_attention_blocks, sum(self.blocks_per_stage)
        in_range = all(0 <= block < total for block in blocks)
        require(in_range, "global_attention_blocks", blocks, f"there are {total} blocks, numbered from 0")
        require(0 <= self.drop_path_rate < 1, "drop_path_rate", self.drop_path_rate, "it must be in [0, 1)")


@strict
class Sam2VisionConfig(PreTrainedConfig):
    """The image encoder: trunk and feature pyramid.

    Args:
        backbone_config: the trunk.
        backbone_channel_list: channels of the trunk's stages, deepest first; follows the trunk if not given.
        backbone_feature_sizes: sides of the three pyramid levels in use; always follows the trunk's ``image_size``.
        fpn_hidden_size: channels of the pyramid, the model width D.
        fpn_top_down_levels: levels whose sum with the level below is kept, always ``[2, 3]``.
        num_feature_levels: levels in use, always 3.

    Raises:
        ValueError: as for the trunk, and for a pyramid that does not fit it.
    """

    model_type = "sam2_vision_model"
    base_config_key = "vision_config"
    sub_configs_defaults: ClassVar = {"backbone_config": Sam2HieraDetConfig}

    backbone_config: dict | PreTrainedConfig | None = None
    backbone_channel_list: list[int] | tuple[int, ...] | None = None
    backbone_feature_sizes: list | tuple | None = None
    fpn_hidden_size: int = 256
    fpn_kernel_size: int = 1
    fpn_stride: int = 1
    fpn_padding: int = 0
    fpn_top_down_levels: list[int] | tuple[int, ...] = (2, 3)
    num_feature_levels: int = 3
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs):
        self.backbone_config = as_config(Sam2HieraDetConfig, self.backbone_config)
        super().__post_init__(**kwargs)
        require_activations(self)
        self.fpn_top_down_levels = list(self.fpn_top_down_levels)
        channels = list(reversed(self.backbone_config.embed_dim_per_stage))
        self.backbone_channel_list = list(self.backbone_channel_list or channels)
        self.set_image_size(self.backbone_config.image_size[0])
        require_positive(self, "fpn_hidden_size")
        require(self.fpn_hidden_size % 8 == 0, "fpn_hidden_size", self.fpn_hidden_size, "it must be a multiple of 8")
        rule = f"the trunk's stages have {channels} channels, deepest first"
        require(self.backbone_channel_list == channels, "backbone_channel_list", self.backbone_channel_list, rule)
        projection = (self.fpn_kernel_size, self.fpn_stride, self.fpn_padding)
        require(projection == (1, 1, 0), "fpn_kernel_size, fpn_stride, fpn_padding", projection, "they must be 1, 1, 0")
        levels = self.fpn_top_down_levels
        require(sorted(levels) == [2, 3], "fpn_top_down_levels", levels, "only [2, 3] is implemented by any checkpoint")
        require(self.num_feature_levels == 3, "num_feature_levels", self.num_feature_levels, "it must be 3")

    def set_image_size(self, image_size: int) -> None:
        """Makes the trunk and the feature sizes follow a new side of the input, in pixels."""
        self.backbone_config.image_size = [image_size, image_size]
        self.backbone_feature_sizes = [[image_size // stride] * 2 for stride in (4, 8, 16)]


@strict
class Sam2PromptEncoderConfig(PreTrainedConfig):
    """Points, boxes and masks to tokens.

    Args:
        hidden_size: width of the tokens, equal to the model width.
        image_size: side of the input in pixels, the frame of reference of points.
        patch_size: pixels per cell of the image embedding, always 16.
        mask_input_channels: channels of the mask prompt before its last convolution.
        num_point_embeddings: kinds of points, always 4.
        scale: standard deviation of the random Fourier matrix when it is initialised.
    """

    model_type = "sam2_prompt_encoder"
    base_config_key = "prompt_encoder_config"

    hidden_size: int = 256
    image_size: int | list[int] | tuple[int, ...] = 1024
    patch_size: int = GRID_STRIDE
    mask_input_channels: int = 16
    num_point_embeddings: int = 4
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6
    scale: int | float = 1
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        require_activations(self)
        height, width = as_pair(self.image_size, "image_size")
        require(height == width, "image_size", self.image_size, "the input of SAM 2 is square")
        self.image_size = height
        require_positive(self, "hidden_size", "image_size", "mask_input_channels")
        require(self.hidden_size % 4 == 0, "hidden_size", self.hidden_size, "it must be a multiple of 4")
        require(self.patch_size == GRID_STRIDE, "patch_size", self.patch_size, f"it must be {GRID_STRIDE}")
        require(self.mask_input_channels % 4 == 0, "mask_input_channels", self.mask_input_channels, "4 must divide it")
        require(self.num_point_embeddings == 4, "num_point_embeddings", self.num_point_embeddings, "it must be 4")


@strict
class Sam2MaskDecoderConfig(PreTrainedConfig):
    """The two-way transformer and the heads behind it.

    Args:
        hidden_size: width of the tokens, equal to the model width.
        mlp_dim: hidden width of the transformer's MLPs.
        attention_downsample_rate: by how much the cross attentions are narrower than ``hidden_size``.
        num_multimask_outputs: candidates for an ambiguous prompt, beside the single mask.
        iou_head_depth, iou_head_hidden_dim: linear layers of the IoU head and their width.
        dynamic_multimask_via_stability: in evaluation, replace an unstable single mask by the best candidate.
        dynamic_multimask_stability_delta: logit distance of the two thresholds that stability compares.
        dynamic_multimask_stability_thresh: stability below which the single mask is replaced.
    """

    model_type = "sam2_mask_decoder"
    base_config_key = "mask_decoder_config"

    hidden_size: int = 256
    hidden_act: str = "gelu"
    mlp_dim: int = 2048
    num_hidden_layers: int = 2
    num_attention_heads: int = 8
    attention_downsample_rate: int = 2
    num_multimask_outputs: int = 3
    iou_head_depth: int = 3
    iou_head_hidden_dim: int = 256
    dynamic_multimask_via_stability: bool = True
    dynamic_multimask_stability_delta: float = 0.05
    dynamic_multimask_stability_thresh: float = 0.98
    layer_norm_eps: float = 1e-6
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        require_activations(self)
        require_positive(self, "hidden_size", "mlp_dim", "num_hidden_layers", "num_attention_heads")
        require_positive(self, "attention_downsample_rate", "num_multimask_outputs", "iou_head_hidden_dim")
        require(self.hidden_size % 8 == 0, "hidden_size", self.hidden_size, "it must be a multiple of 8")
        require(self.iou_head_depth >= 2, "iou_head_depth", self.iou_head_depth, "it must be at least 2")
        inner = self.hidden_size // self.attention_downsample_rate
        rule = f"it must divide the inner width {inner} (hidden_size / attention_downsample_rate)"
        require(inner % self.num_attention_heads == 0, "num_attention_heads", self.num_attention_heads, rule)


def as_config(config_class: type[PreTrainedConfig], value, **defaults) -> PreTrainedConfig:
    """A nested part from an object of ours, an object of the library's own class, a dictionary or None."""
    if isinstance(value, config_class):
        return copy.deepcopy(value)  # sizes are settled in place, which must not reach the caller's object
    if isinstance(value, PreTrainedConfig):
        value = value.to_dict()
    if value is None or isinstance(value, dict):
        fields = {key: item for key, item in (value or {}).items() if key != "model_type"}
        return config_class(**{**defaults, **fields})
    raise TypeError(f"expected {config_class.__name__}, a dictionary or None, got {type(value).__name__}")
