# Copyright 2026 The sam2_hf authors. Licensed under the Apache License, Version 2.0.
"""Configuration of SAM 2 and 2.1 in the schema of the published checkpoints.

``Sam2Config`` nests three parts (vision with its trunk, prompt encoder, mask decoder) and holds the memory part flat,
as ``facebook/sam2.1-hiera-*/config.json`` does. Two numbers rule the rest: ``image_size`` fixes every grid, and
``vision_config.fpn_hidden_size`` is the model width that all widths follow unless they are given.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

# The same in every release and in every checkpoint that can be loaded, so they are not fields.
PATCH_STRIDE = 4  # pixels between two tokens of the trunk's first stage
GRID_STRIDE = 16  # pixels between two tokens of the image embedding
COARSEST_STRIDE = 32  # pixels between two tokens of the trunk's last stage
NUM_STAGES = 4
WINDOW_EMBEDDING_SIZE = 8  # side of `pos_embed_window`; the stride-4 grid must be a multiple of it
MEMORY_DOWNSAMPLER_STRIDE = 16  # from the high-resolution mask to the memory grid
IMAGE_ONLY_MODEL_TYPE = "sam2"  # how the library's own image model marks checkpoints without memory

_TRUNKS: dict[str, dict[str, Any]] = {
    "tiny": {
        "hidden_size": 96,
        "embed_dim_per_stage": [96, 192, 384, 768],
        "num_attention_heads": 1,
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "blocks_per_stage": [1, 2, 7, 2],
        "global_attention_blocks": [5, 7, 9],
        "window_size_per_stage": [8, 4, 14, 7],
        "window_positional_embedding_background_size": [7, 7],
    },
    "small": {
        "hidden_size": 96,
        "embed_dim_per_stage": [96, 192, 384, 768],
        "num_attention_heads": 1,
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "blocks_per_stage": [1, 2, 11, 2],
        "global_attention_blocks": [7, 10, 13],
        "window_size_per_stage": [8, 4, 14, 7],
        "window_positional_embedding_background_size": [7, 7],
    },
    "base_plus": {
        "hidden_size": 112,
        "embed_dim_per_stage": [112, 224, 448, 896],
        "num_attention_heads": 2,
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "blocks_per_stage": [2, 3, 16, 3],
        "global_attention_blocks": [12, 16, 20],
        "window_size_per_stage": [8, 4, 14, 7],
        "window_positional_embedding_background_size": [14, 14],
    },
    "large": {
        "hidden_size": 144,
        "embed_dim_per_stage": [144, 288, 576, 1152],
        "num_attention_heads": 2,
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "blocks_per_stage": [2, 6, 36, 4],
        "global_attention_blocks": [23, 33, 43],
        "window_size_per_stage": [8, 4, 16, 8],
        "window_positional_embedding_background_size": [7, 7],
    },
}


def as_pair(value: int | Sequence[int]) -> tuple[int, int]:
    """``7`` or ``[7, 7]`` as ``(7, 7)``."""
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _require(condition: bool, field: str, value: Any, rule: str) -> None:
    if not condition:
        raise ValueError(f"`{field}` is {value!r}, but {rule}")


def _require_positive(config: PreTrainedConfig, *fields: str) -> None:
    for field in fields:
        value = getattr(config, field)
        numbers = value if isinstance(value, (list, tuple)) else [value]
        _require(all(number > 0 for number in numbers), field, value, "it must be positive")


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
            setattr(self, field, list(as_pair(getattr(self, field))))  # the published files hold pairs
        per_stage = (
            "blocks_per_stage",
            "embed_dim_per_stage",
            "num_attention_heads_per_stage",
            "window_size_per_stage",
        )
        for field in (*per_stage, "global_attention_blocks"):
            setattr(self, field, list(getattr(self, field)))
        super().__post_init__(**kwargs)
        self._validate_geometry()
        self._validate_stages(per_stage)

    def _validate_geometry(self) -> None:
        _require_positive(self, "image_size", "num_channels", "patch_kernel_size")
        size = self.image_size
        _require(size[0] == size[1], "image_size", size, "the input of SAM 2 is square")
        _require(size[0] % COARSEST_STRIDE == 0, "image_size", size[0], f"it must be a multiple of {COARSEST_STRIDE}")
        _require(
            self.patch_stride == [PATCH_STRIDE] * 2, "patch_stride", self.patch_stride, f"it must be {PATCH_STRIDE}"
        )
        _require(
            self.query_stride == [2, 2], "query_stride", self.query_stride, "every stage halves the map: it must be 2"
        )
        stages = self.num_query_pool_stages
        _require(stages == NUM_STAGES - 1, "num_query_pool_stages", stages, "stages 2, 3 and 4 pool: it must be 3")

    def _validate_stages(self, per_stage: tuple[str, ...]) -> None:
        for field in per_stage:
            value = getattr(self, field)
            _require(len(value) == NUM_STAGES, field, value, f"it needs one number for each of {NUM_STAGES} stages")
            _require_positive(self, field)
        widths, heads = self.embed_dim_per_stage, self.num_attention_heads_per_stage
        _require(
            self.hidden_size == widths[0], "hidden_size", self.hidden_size, f"embed_dim_per_stage starts at {widths[0]}"
        )
        for width, num_heads in zip(widths, heads, strict=True):
            _require(
                width % num_heads == 0, "num_attention_heads_per_stage", heads, f"{num_heads} does not divide {width}"
            )
        for window in self.window_size_per_stage[:-1]:
            rule = "the windows of stages 1 to 3 are pooled by 2 and must be even"
            _require(window % 2 == 0, "window_size_per_stage", self.window_size_per_stage, rule)
        blocks, total = self.global_attention_blocks, sum(self.blocks_per_stage)
        in_range = all(0 <= block < total for block in blocks)
        _require(in_range, "global_attention_blocks", blocks, f"there are {total} blocks, numbered from 0")
        _require(0 <= self.drop_path_rate < 1, "drop_path_rate", self.drop_path_rate, "it must be in [0, 1)")


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
        self.backbone_config = _as_config(Sam2HieraDetConfig, self.backbone_config)
        super().__post_init__(**kwargs)
        self.fpn_top_down_levels = list(self.fpn_top_down_levels)
        channels = list(reversed(self.backbone_config.embed_dim_per_stage))
        self.backbone_channel_list = list(self.backbone_channel_list or channels)
        self.set_image_size(self.backbone_config.image_size[0])
        _require_positive(self, "fpn_hidden_size")
        _require(self.fpn_hidden_size % 8 == 0, "fpn_hidden_size", self.fpn_hidden_size, "it must be a multiple of 8")
        rule = f"the trunk's stages have {channels} channels, deepest first"
        _require(self.backbone_channel_list == channels, "backbone_channel_list", self.backbone_channel_list, rule)
        projection = (self.fpn_kernel_size, self.fpn_stride, self.fpn_padding)
        _require(
            projection == (1, 1, 0), "fpn_kernel_size, fpn_stride, fpn_padding", projection, "they must be 1, 1, 0"
        )
        levels = self.fpn_top_down_levels
        _require(
            sorted(levels) == [2, 3], "fpn_top_down_levels", levels, "only [2, 3] is implemented by any checkpoint"
        )
        _require(self.num_feature_levels == 3, "num_feature_levels", self.num_feature_levels, "it must be 3")

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
        height, width = as_pair(self.image_size)
        _require(height == width, "image_size", self.image_size, "the input of SAM 2 is square")
        self.image_size = height
        _require_positive(self, "hidden_size", "image_size", "mask_input_channels")
        _require(self.hidden_size % 4 == 0, "hidden_size", self.hidden_size, "it must be a multiple of 4")
        _require(self.patch_size == GRID_STRIDE, "patch_size", self.patch_size, f"it must be {GRID_STRIDE}")
        _require(self.mask_input_channels % 4 == 0, "mask_input_channels", self.mask_input_channels, "4 must divide it")
        _require(self.num_point_embeddings == 4, "num_point_embeddings", self.num_point_embeddings, "it must be 4")


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
        _require_positive(self, "hidden_size", "mlp_dim", "num_hidden_layers", "num_attention_heads")
        _require_positive(self, "attention_downsample_rate", "num_multimask_outputs", "iou_head_hidden_dim")
        _require(self.hidden_size % 8 == 0, "hidden_size", self.hidden_size, "it must be a multiple of 8")
        _require(self.iou_head_depth >= 2, "iou_head_depth", self.iou_head_depth, "it must be at least 2")
        inner = self.hidden_size // self.attention_downsample_rate
        rule = f"it must divide the inner width {inner} (hidden_size / attention_downsample_rate)"
        _require(inner % self.num_attention_heads == 0, "num_attention_heads", self.num_attention_heads, rule)


@strict
class Sam2Config(PreTrainedConfig):
    """All of SAM 2 / 2.1 for pictures and videos, in the schema of the published checkpoints.

    ``Sam2Config()`` is SAM 2.1 tiny; ``Sam2Config.tiny()``, ``.small()``, ``.base_plus()`` and ``.large()`` build the
    released models. ``image_size`` is the authority on sizes: every size in the nested parts follows it, so
    ``Sam2Config(image_size=512)`` and ``Sam2Model.from_pretrained(name, image_size=512)`` just work (at some loss of
    quality, because the position encodings were trained at 1024). Widths of the memory part that are not given follow
    the model width ``vision_config.fpn_hidden_size``.

    Args:
        vision_config, prompt_encoder_config, mask_decoder_config: the nested parts, as objects or dictionaries.
        image_size: side of the square input in pixels, a multiple of 32. Not given: the size of the nested parts.
        image_only: no memory part. Such a model segments pictures and cannot follow a video.
        num_maskmem: frames in memory attention, one prompted and the rest recent.
        enable_occlusion_spatial_embedding, enable_temporal_pos_encoding_for_object_pointers: both true in SAM 2.1, both
            false in SAM 2.0.
        sigmoid_scale_for_mem_enc, sigmoid_bias_for_mem_enc: scale and bias of masks on their way into memory.
        max_object_pointers_in_encoder: object pointers in memory attention.
        max_cond_frame_num: limit of prompted frames in memory attention, -1 for none.
        memory_*, mask_downsampler_*: the memory modules; widths not given follow the model width.

    Raises:
        ValueError: parts that do not fit each other; the message names field, value and rule.
    """

    model_type = "sam2_video"
    sub_configs_defaults: ClassVar = {
        "vision_config": Sam2VisionConfig,
        "prompt_encoder_config": Sam2PromptEncoderConfig,
        "mask_decoder_config": Sam2MaskDecoderConfig,
    }
    default_rope_type: ClassVar[str] = "axial"
    default_theta: ClassVar[float] = 10000.0

    vision_config: dict | PreTrainedConfig | None = None
    prompt_encoder_config: dict | PreTrainedConfig | None = None
    mask_decoder_config: dict | PreTrainedConfig | None = None
    initializer_range: float = 0.02
    image_size: int | list[int] | tuple[int, ...] | None = None
    image_only: bool = False
    num_maskmem: int = 7
    sigmoid_scale_for_mem_enc: int | float = 20.0
    sigmoid_bias_for_mem_enc: int | float = -10.0
    enable_occlusion_spatial_embedding: bool = True
    enable_temporal_pos_encoding_for_object_pointers: bool = True
    multimask_output_in_sam: bool = True
    multimask_min_pt_num: int = 0
    multimask_max_pt_num: int = 1
    multimask_output_for_tracking: bool = True
    max_object_pointers_in_encoder: int = 16
    max_cond_frame_num: int = -1
    memory_attention_hidden_size: int | None = None
    memory_attention_num_layers: int = 4
    memory_attention_num_attention_heads: int = 1
    memory_attention_downsample_rate: int = 1
    memory_attention_feed_forward_hidden_size: int = 2048
    memory_attention_feed_forward_hidden_act: str = "relu"
    memory_attention_dropout: int | float = 0.1
    memory_attention_rope_feat_sizes: list[int] | tuple[int, ...] | None = None
    memory_attention_rope_dropout: int | float = 0.1
    memory_encoder_hidden_size: int | None = None
    memory_encoder_output_channels: int | None = None
    rope_parameters: dict | None = None
    mask_downsampler_embed_dim: int | None = None
    mask_downsampler_kernel_size: int = 3
    mask_downsampler_stride: int = 2
    mask_downsampler_padding: int = 1
    mask_downsampler_total_stride: int = MEMORY_DOWNSAMPLER_STRIDE
    mask_downsampler_hidden_act: str = "gelu"
    memory_fuser_num_layers: int = 2
    memory_fuser_embed_dim: int | None = None
    memory_fuser_intermediate_dim: int | None = None
    memory_fuser_kernel_size: int = 7
    memory_fuser_padding: int = 3
    memory_fuser_layer_scale_init_value: float = 1e-6
    memory_fuser_hidden_act: str = "gelu"

    def __post_init__(self, **kwargs):
        self.vision_config = _as_config(Sam2VisionConfig, self.vision_config)
        width = self.vision_config.fpn_hidden_size
        self.prompt_encoder_config = _as_config(Sam2PromptEncoderConfig, self.prompt_encoder_config, hidden_size=width)
        self.mask_decoder_config = _as_config(Sam2MaskDecoderConfig, self.mask_decoder_config, hidden_size=width)
        theta = kwargs.pop("memory_attention_rope_theta", None)  # the name in the files published first
        rope = {"rope_type": "axial", "rope_theta": float(theta or self.default_theta)}
        self.rope_parameters = {**rope, **(self.rope_parameters or {})}
        super().__post_init__(**kwargs)
        self._settle_image_size()
        self._settle_widths(width)
        self._validate_widths(width)
        self._validate_memory()

    @property
    def hidden_size(self) -> int:
        """Model width D: channels of the image embedding, of prompt tokens and of object pointers."""
        return self.vision_config.fpn_hidden_size

    @property
    def grid_size(self) -> int:
        """Side of the stride-16 grid of the image embedding."""
        return self.image_size // GRID_STRIDE

    @property
    def low_res_mask_size(self) -> int:
        """Side of the masks that the decoder draws, at stride 4."""
        return self.image_size // PATCH_STRIDE

    @property
    def version(self) -> Literal["2.0", "2.1"]:
        """Which release this configuration has the structure of."""
        return "2.1" if self.enable_occlusion_spatial_embedding else "2.0"

    def _settle_image_size(self) -> None:
        """``image_size`` if it was given, else the one size of the nested parts; then all parts follow."""
        trunk, prompts = self.vision_config.backbone_config, self.prompt_encoder_config
        if self.image_size is None:
            rule = f"the trunk has {trunk.image_size[0]}; pass `image_size` to Sam2Config to set both"
            fits = prompts.image_size == trunk.image_size[0] or prompts.image_size == 1024
            _require(fits, "prompt_encoder_config.image_size", prompts.image_size, rule)
            self.image_size = trunk.image_size[0]
        height, width = as_pair(self.image_size)
        _require(height == width, "image_size", self.image_size, "the input of SAM 2 is square")
        rule = f"it must be a positive multiple of {COARSEST_STRIDE}"
        _require(height > 0 and height % COARSEST_STRIDE == 0, "image_size", height, rule)
        self.image_size = height
        prompts.image_size = height
        self.vision_config.set_image_size(height)
        self.memory_attention_rope_feat_sizes = [self.grid_size, self.grid_size]

    def _settle_widths(self, width: int) -> None:
        defaults = {
            "memory_attention_hidden_size": width,
            "memory_encoder_hidden_size": width,
            "memory_encoder_output_channels": width // 4,
            "mask_downsampler_embed_dim": width,
            "memory_fuser_embed_dim": width,
            "memory_fuser_intermediate_dim": 4 * width,
        }
        for field, value in defaults.items():
            if getattr(self, field) is None:
                setattr(self, field, value)

    def _validate_widths(self, width: int) -> None:
        rule = f"the model width `vision_config.fpn_hidden_size` is {width} and both must be equal"
        for part in ("prompt_encoder_config", "mask_decoder_config"):
            value = getattr(self, part).hidden_size
            _require(value == width, f"{part}.hidden_size", value, rule)
        if self.image_only:
            return
        for field in (
            "memory_attention_hidden_size",
            "memory_encoder_hidden_size",
            "mask_downsampler_embed_dim",
            "memory_fuser_embed_dim",
        ):
            _require(getattr(self, field) == width, field, getattr(self, field), rule)
        channels = self.memory_encoder_output_channels
        rule = f"object pointers of width {width} are cut into tokens of this width, so it must divide it and by 4"
        fits = channels > 0 and width % channels == 0 and channels % 4 == 0
        _require(fits, "memory_encoder_output_channels", channels, rule)

    def _validate_memory(self) -> None:
        occlusion, pointers = (
            self.enable_occlusion_spatial_embedding,
            self.enable_temporal_pos_encoding_for_object_pointers,
        )
        rule = "both are true in SAM 2.1 and both false in SAM 2.0"
        names = "enable_occlusion_spatial_embedding, enable_temporal_pos_encoding_for_object_pointers"
        _require(occlusion == pointers, names, (occlusion, pointers), rule)
        _require_positive(self, "num_maskmem", "max_object_pointers_in_encoder", "memory_attention_num_layers")
        heads, rate = self.memory_attention_num_attention_heads, self.memory_attention_downsample_rate
        inner = self.memory_attention_hidden_size // rate
        rule = f"each head of width {inner} / heads needs four equal parts for the rotary encoding"
        _require(inner % (4 * heads) == 0, "memory_attention_num_attention_heads", heads, rule)
        theta = self.rope_parameters["rope_theta"]
        _require(theta > 0, "rope_parameters['rope_theta']", theta, "it must be positive")
        stride = self.mask_downsampler_total_stride
        rule = f"memory lies on the stride-{MEMORY_DOWNSAMPLER_STRIDE} grid"
        _require(stride == MEMORY_DOWNSAMPLER_STRIDE, "mask_downsampler_total_stride", stride, rule)
        shape = (self.mask_downsampler_kernel_size, self.mask_downsampler_stride, self.mask_downsampler_padding)
        names = "mask_downsampler_kernel_size, mask_downsampler_stride, mask_downsampler_padding"
        _require(shape == (3, 2, 1), names, shape, "they must be 3, 2, 1 to halve the mask")
        padding, kernel = self.memory_fuser_padding, self.memory_fuser_kernel_size
        rule = f"a kernel of {kernel} keeps the size only with {kernel // 2}"
        _require(kernel % 2 == 1 and padding == kernel // 2, "memory_fuser_padding", padding, rule)

    def to_dict(self) -> dict[str, Any]:
        """The published schema; a model without memory is marked as the library's image model."""
        output = super().to_dict()
        if output.pop("image_only", False):
            output["model_type"] = IMAGE_ONLY_MODEL_TYPE
        return output

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs):
        config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        return _normalise_model_type(config_dict), kwargs

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs):
        """As in any configuration; overrides of our own fields are settled and validated with the rest."""
        own = {key for key in cls.__annotations__ if key in kwargs and not isinstance(kwargs[key], dict)}
        overrides = {key: kwargs.pop(key) for key in own}
        return super().from_dict({**_normalise_model_type(config_dict), **overrides}, **kwargs)

    @classmethod
    def tiny(cls, version: Literal["2.0", "2.1"] = "2.1", **overrides) -> "Sam2Config":
        """``facebook/sam2.1-hiera-tiny`` (38.96 M parameters), or the 2.0 release of that size."""
        return cls._release("tiny", version, overrides)

    @classmethod
    def small(cls, version: Literal["2.0", "2.1"] = "2.1", **overrides) -> "Sam2Config":
        """``facebook/sam2.1-hiera-small`` (46.06 M parameters), or the 2.0 release of that size."""
        return cls._release("small", version, overrides)

    @classmethod
    def base_plus(cls, version: Literal["2.0", "2.1"] = "2.1", **overrides) -> "Sam2Config":
        """``facebook/sam2.1-hiera-base-plus`` (80.85 M parameters), or the 2.0 release of that size."""
        return cls._release("base_plus", version, overrides)

    @classmethod
    def large(cls, version: Literal["2.0", "2.1"] = "2.1", **overrides) -> "Sam2Config":
        """``facebook/sam2.1-hiera-large`` (224.4 M parameters), or the 2.0 release of that size."""
        return cls._release("large", version, overrides)

    @classmethod
    def _release(cls, size: str, version: str, overrides: dict[str, Any]) -> "Sam2Config":
        if version not in ("2.0", "2.1"):
            raise ValueError(f"`version` must be '2.0' or '2.1', got {version!r}")
        if unknown := sorted(set(overrides) - set(cls.__dataclass_fields__)):
            raise TypeError(f"{cls.__name__} has no field {unknown[0]!r}; see its docstring for the fields")
        is_21 = version == "2.1"
        settings = {
            "vision_config": {"backbone_config": {key: value for key, value in _TRUNKS[size].items()}},
            "image_size": 1024,
            "enable_occlusion_spatial_embedding": is_21,
            "enable_temporal_pos_encoding_for_object_pointers": is_21,
        }
        return cls(**{**settings, **overrides})


def _as_config(config_class: type[PreTrainedConfig], value, **defaults) -> PreTrainedConfig:
    """A nested part from an object of ours, an object of the library's own class, a dictionary or None."""
    if isinstance(value, config_class):
        return value
    if isinstance(value, PreTrainedConfig):
        value = value.to_dict()
    if value is None or isinstance(value, dict):
        fields = {key: item for key, item in (value or {}).items() if key != "model_type"}
        return config_class(**{**defaults, **fields})
    raise TypeError(f"expected {config_class.__name__}, a dictionary or None, got {type(value).__name__}")


def _normalise_model_type(config_dict: dict[str, Any]) -> dict[str, Any]:
    """Turns the mark of an image-only checkpoint into our field, so that nothing warns about another model type."""
    if config_dict.get("model_type") != IMAGE_ONLY_MODEL_TYPE:
        return config_dict
    return {**config_dict, "model_type": Sam2Config.model_type, "image_only": True}
