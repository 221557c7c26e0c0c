# Copyright 2026 The sam2_hf authors. Licensed under the Apache License, Version 2.0.
"""Configuration of SAM 2 and 2.1 in the schema of the published checkpoints.

``Sam2Config`` nests three parts (vision with its trunk, prompt encoder, mask decoder) and holds the memory part flat,
as ``facebook/sam2.1-hiera-*/config.json`` does. Two numbers rule the rest: ``image_size`` fixes every grid, and
``vision_config.fpn_hidden_size`` is the model width that all widths follow unless they are given.
"""

from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from sam2_hf.modeling.configuration_files import check_config, read_config
from sam2_hf.modeling.part_configurations import (
    COARSEST_STRIDE,
    GRID_STRIDE,
    PATCH_STRIDE,
    Sam2HieraDetConfig,
    Sam2MaskDecoderConfig,
    Sam2PromptEncoderConfig,
    Sam2VisionConfig,
    as_config,
    as_pair,
    require,
    require_activations,
    require_positive,
)

__all__ = [
    "Sam2Config",
    "Sam2HieraDetConfig",
    "Sam2MaskDecoderConfig",
    "Sam2PromptEncoderConfig",
    "Sam2VisionConfig",
]

MEMORY_DOWNSAMPLER_STRIDE = 16  # from the high-resolution mask to the memory grid; the same in every checkpoint
# A binary mask as logits of -10 and 10: how the original writes masks that a user drew, in and out.
MASK_AS_LOGITS_SCALE, MASK_AS_LOGITS_BIAS = 20.0, -10.0
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
    keys_to_ignore_at_inference: ClassVar = ["image_embeddings", "vision_hidden_states", "vision_attentions"]
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
        if kwargs.pop("model_type", None) == IMAGE_ONLY_MODEL_TYPE:
            self.image_only = True
        self.vision_config = as_config(Sam2VisionConfig, self.vision_config)
        width = self.vision_config.fpn_hidden_size
        self.prompt_encoder_config = as_config(Sam2PromptEncoderConfig, self.prompt_encoder_config, hidden_size=width)
        self.mask_decoder_config = as_config(Sam2MaskDecoderConfig, self.mask_decoder_config, hidden_size=width)
        theta = kwargs.pop("memory_attention_rope_theta", None)  # the name in the files published first
        is_number = isinstance(theta, (int, float, type(None)))
        require(is_number, "memory_attention_rope_theta", theta, "it must be a number")
        rope = {"rope_type": "axial", "rope_theta": float(theta or self.default_theta)}
        self.rope_parameters = {**rope, **(self.rope_parameters or {})}
        super().__post_init__(**kwargs)
        require_activations(self)
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
    def memory_attention_rope_theta(self) -> float:
        """Base of the rotary encoding, under the name of the files published first."""
        return self.rope_parameters["rope_theta"]

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
            require(fits, "prompt_encoder_config.image_size", prompts.image_size, rule)
            self.image_size = trunk.image_size[0]
        height, width = as_pair(self.image_size, "image_size")
        require(height == width, "image_size", self.image_size, "the input of SAM 2 is square")
        rule = f"it must be a positive multiple of {COARSEST_STRIDE}"
        require(height > 0 and height % COARSEST_STRIDE == 0, "image_size", height, rule)
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
            require(value == width, f"{part}.hidden_size", value, rule)
        if self.image_only:
            return
        for field in (
            "memory_attention_hidden_size",
            "memory_encoder_hidden_size",
            "mask_downsampler_embed_dim",
            "memory_fuser_embed_dim",
        ):
            require(getattr(self, field) == width, field, getattr(self, field), rule)
        channels = self.memory_encoder_output_channels
        rule = f"object pointers of width {width} are cut into tokens of this width, so it must divide it and by 4"
        fits = channels > 0 and width % channels == 0 and channels % 4 == 0
        require(fits, "memory_encoder_output_channels", channels, rule)

    def _validate_memory(self) -> None:
        occlusion, pointers = (
            self.enable_occlusion_spatial_embedding,
            self.enable_temporal_pos_encoding_for_object_pointers,
        )
        rule = "both are true in SAM 2.1 and both false in SAM 2.0"
        names = "enable_occlusion_spatial_embedding, enable_temporal_pos_encoding_for_object_pointers"
        require(occlusion == pointers, names, (occlusion, pointers), rule)
        require_positive(self, "num_maskmem", "max_object_pointers_in_encoder", "memory_attention_num_layers")
        require_positive(self, "memory_attention_num_attention_heads", "memory_attention_downsample_rate")
        heads, rate = self.memory_attention_num_attention_heads, self.memory_attention_downsample_rate
        inner = self.memory_attention_hidden_size // rate
        rule = f"each head of width {inner} / heads needs four equal parts for the rotary encoding"
        require(inner % (4 * heads) == 0, "memory_attention_num_attention_heads", heads, rule)
        theta = self.rope_parameters["rope_theta"]
        is_positive = isinstance(theta, (int, float)) and theta > 0
        require(is_positive, "rope_parameters['rope_theta']", theta, "it must be a positive number")
        limit = self.max_cond_frame_num
        require(limit == -1 or limit >= 2, "max_cond_frame_num", limit, "it must be -1 for no limit, or at least 2")
        stride = self.mask_downsampler_total_stride
        rule = f"memory lies on the stride-{MEMORY_DOWNSAMPLER_STRIDE} grid"
        require(stride == MEMORY_DOWNSAMPLER_STRIDE, "mask_downsampler_total_stride", stride, rule)
        shape = (self.mask_downsampler_kernel_size, self.mask_downsampler_stride, self.mask_downsampler_padding)
        names = "mask_downsampler_kernel_size, mask_downsampler_stride, mask_downsampler_padding"
        require(shape == (3, 2, 1), names, shape, "they must be 3, 2, 1 to halve the mask")
        padding, kernel = self.memory_fuser_padding, self.memory_fuser_kernel_size
        rule = f"a kernel of {kernel} keeps the size only with {kernel // 2}"
        require(kernel % 2 == 1 and padding == kernel // 2, "memory_fuser_padding", padding, rule)

    def to_dict(self) -> dict[str, Any]:
        """The published schema; a model without memory is marked as the library's image model."""
        output = super().to_dict()
        if output.pop("image_only", False):
            output["model_type"] = IMAGE_ONLY_MODEL_TYPE
        return output

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs):
        """As in any configuration.

        Raises:
            CheckpointError: the file makes no configuration; the message names the field.
        """
        name = f"{pretrained_model_name_or_path}: config.json"
        read = super().get_config_dict
        config_dict, kwargs = read_config(lambda: read(pretrained_model_name_or_path, **kwargs), name)
        config_dict = _normalise_model_type(config_dict)
        check_config(config_dict, cls, name)
        return config_dict, kwargs

    @classmethod
    def from_json_file(cls, json_file):
        """As in any configuration; raises `CheckpointError` as `get_config_dict` does."""
        config_dict = read_config(lambda: cls._dict_from_json_file(json_file), str(json_file))
        check_config(config_dict, cls, str(json_file))
        return super().from_json_file(json_file)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs):
        """As in any configuration; overrides of our own fields are settled and validated with the rest."""
        own = {key for key in cls.__annotations__ if key in kwargs and not isinstance(kwargs[key], dict)}
        overrides = {key: kwargs.pop(key) for key in own}
        return super().from_dict({**config_dict, **overrides}, **kwargs)

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


def as_sam2_config(config: PreTrainedConfig) -> Sam2Config:
    """A configuration of ours; one of the library's own SAM 2 classes is converted.

    Raises:
        TypeError: it is of another model.
    """
    if isinstance(config, Sam2Config):
        return config
    if getattr(config, "model_type", None) not in (Sam2Config.model_type, IMAGE_ONLY_MODEL_TYPE):
        raise TypeError(f"a SAM 2 model needs a Sam2Config, got {type(config).__name__}")
    return Sam2Config.from_dict(config.to_dict())


def release_of(config: Sam2Config) -> str | None:
    """Name of the released size with this trunk, None for any other."""
    trunk = config.vision_config.backbone_config
    sizes = ("embed_dim_per_stage", "blocks_per_stage")
    same = (name for name, of in _TRUNKS.items() if all(getattr(trunk, field) == of[field] for field in sizes))
    return next(same, None)


def _normalise_model_type(config_dict: dict[str, Any]) -> dict[str, Any]:
    """Turns the mark of an image-only checkpoint into our field, so that nothing warns about another model type."""
    if config_dict.get("model_type") != IMAGE_ONLY_MODEL_TYPE:
        return config_dict
    return {**config_dict, "model_type": Sam2Config.model_type, "image_only": True}
