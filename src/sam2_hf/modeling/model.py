# Copyright 2026 The sam2_hf authors. Licensed under the Apache License, Version 2.0.
"""`Sam2Model`: one model for pictures and videos, spoken to through five verbs.

    encode_image    pixels                         -> ImageFeatures
    encode_prompts  points, labels, masks          -> PromptEmbeddings
    recall          ImageFeatures, memory or None  -> ImageFeatures conditioned on what is remembered
    decode_masks    ImageFeatures, prompts         -> MaskPrediction
    memorize        ImageFeatures, masks, scores   -> spatial memory

The model knows no time: which frames are remembered is the tracker's business. `forward` is the four verbs that a still
picture needs, in a row.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from sam2_hf.errors import MissingWeightsError
from sam2_hf.modeling.configuration import Sam2Config
from sam2_hf.modeling.layers import MLP
from sam2_hf.modeling.mask_decoder import Sam2MaskDecoder
from sam2_hf.modeling.memory_attention import Sam2MemoryAttention
from sam2_hf.modeling.memory_encoder import Sam2MemoryEncoder
from sam2_hf.modeling.outputs import (
    ImageFeatures,
    MaskPrediction,
    MemoryBatch,
    PromptBatch,
    PromptEmbeddings,
    Sam2ImageSegmentationOutput,
    Sam2VisionEncoderOutput,
)
from sam2_hf.modeling.position_embedding import FourierEmbedding, SineTable, sine_encoding_1d, sine_encoding_2d
from sam2_hf.modeling.pretrained import Sam2PreTrainedModel, Sam2VisionModel, inherit_attention
from sam2_hf.modeling.prompt_encoder import Sam2PromptEncoder
from sam2_hf.modeling.prompt_groups import PromptRows, prompt_rows
from sam2_hf.modeling.two_way_transformer import Sam2TwoWayAttention

NO_OBJECT_LOGIT = -1024.0  # every pixel of a mask that is known to be absent
OBJECT_POINTER_DEPTH = 3
FOURIER_COPY = "prompt_encoder.shared_embedding.positional_embedding"  # of shared_image_embedding.positional_embedding
MEMORY_PREFIXES = (
    *("memory_attention", "memory_encoder", "memory_temporal_positional_encoding", "mask_downsample"),
    *("no_memory_positional_encoding", "no_object_pointer", "object_pointer_proj"),
    *("occlusion_spatial_embedding_parameter", "temporal_positional_encoding_projection_layer"),
)


class Sam2Model(Sam2PreTrainedModel):
    """Segment Anything 2 / 2.1 for pictures and videos (Ravi et al. 2024, arXiv 2408.00714).

    ```python
    model = Sam2Model.from_pretrained("facebook/sam2.1-hiera-tiny")
    outputs = model(**processor(images=image, input_points=[[500, 375]], return_tensors="pt"))
    ```
    """

    _keep_in_fp32_modules_strict = {"positional_embedding"}  # noqa: RUF012
    _keys_to_ignore_on_load_unexpected = {rf"^{prefix}" for prefix in MEMORY_PREFIXES}  # noqa: RUF012
    _can_record_outputs = {  # noqa: RUF012
        "mask_decoder_attentions": OutputRecorder(Sam2TwoWayAttention, index=1)
    }

    def __init__(self, config: Sam2Config):
        super().__init__(config)
        inherit_attention(config, config.mask_decoder_config)
        width = config.hidden_size
        self.shared_image_embedding = FourierEmbedding(width, config.prompt_encoder_config.scale)
        self.vision_encoder = Sam2VisionModel(config.vision_config)
        self.prompt_encoder = Sam2PromptEncoder(config.prompt_encoder_config, self.shared_image_embedding)
        self.mask_decoder = Sam2MaskDecoder(config.mask_decoder_config)
        self.no_memory_embedding = nn.Parameter(torch.zeros(1, 1, width))
        if not config.image_only:
            self._add_memory(config)
        self.post_init()

    def _add_memory(self, config: Sam2Config) -> None:
        width, memory_width, grid = config.hidden_size, config.memory_encoder_output_channels, config.grid_size
        self.memory_attention = Sam2MemoryAttention(config)
        self.memory_encoder = Sam2MemoryEncoder(config)
        self.mask_downsample = nn.Conv2d(1, 1, kernel_size=4, stride=4)
        self.object_pointer_proj = MLP(width, width, width, OBJECT_POINTER_DEPTH)
        self.memory_temporal_positional_encoding = nn.Parameter(torch.zeros(config.num_maskmem, 1, 1, memory_width))
        self.no_memory_positional_encoding = nn.Parameter(torch.zeros(1, 1, width))  # in every checkpoint, never used
        self.no_object_pointer = nn.Parameter(torch.zeros(1, width))
        if config.enable_occlusion_spatial_embedding:
            self.occlusion_spatial_embedding_parameter = nn.Parameter(torch.zeros(1, memory_width))
        if config.enable_temporal_pos_encoding_for_object_pointers:
            self.temporal_positional_encoding_projection_layer = nn.Linear(width, memory_width)
        self.current_position = SineTable(width, grid, grid)
        self.memory_position = SineTable(memory_width, grid, grid)

    def save_pretrained(self, save_directory, *, state_dict: dict[str, Tensor] | None = None, **kwargs) -> None:
        """Saves as any model. The Fourier matrix, one in memory, is written under both published names."""
        state_dict = dict(self.state_dict() if state_dict is None else state_dict)
        if FOURIER_COPY in state_dict:
            state_dict[FOURIER_COPY] = state_dict[FOURIER_COPY].clone()
        super().save_pretrained(save_directory, state_dict=state_dict, **kwargs)

    def get_input_embeddings(self) -> nn.Module:
        return self.vision_encoder.get_input_embeddings()

    # The five verbs

    def encode_image(self, pixel_values: Tensor, **kwargs: Unpack[TransformersKwargs]) -> ImageFeatures:
        """Encodes pictures (batch, 3, image_size, image_size) once; the result serves any number of prompts."""
        return self._project(self.vision_encoder(pixel_values, **kwargs))

    def encode_prompts(self, prompts: PromptBatch, rows: int) -> PromptEmbeddings:
        """Encodes the prompts of `rows` objects that have equally many points."""
        return self.prompt_encoder(prompts, rows)

    def recall(self, features: ImageFeatures, memory: MemoryBatch | None = None, **kwargs) -> ImageFeatures:
        """Conditions raw features on memory; None: on having no memory, as for pictures and first prompts.

        Raises:
            MissingWeightsError: memory was given, but the checkpoint is for pictures only.
        """
        if memory is None:
            no_memory = self.no_memory_embedding.transpose(1, 2).unsqueeze(-1)  # (1, channels, 1, 1)
            return features.with_embedding(features.image_embedding + no_memory)
        self.require_memory()
        tokens, position, num_pointer_tokens = self._memory_tokens(memory)
        height, width = features.image_embedding.shape[-2:]
        current = features.image_embedding.flatten(2).transpose(1, 2)
        current_position = self.current_position.table.flatten(1).T.to(current.dtype)
        conditioned = self.memory_attention(current, current_position, tokens, position, num_pointer_tokens, **kwargs)
        return features.with_embedding(conditioned.transpose(1, 2).unflatten(2, (height, width)))

    def decode_masks(
        self, features: ImageFeatures, prompts: PromptEmbeddings, multimask_output: bool = True, **kwargs
    ) -> MaskPrediction:
        """Draws the masks of `rows` objects on conditioned features of as many rows, or of pictures they share.

        Args:
            features: as `recall` returns them. With a first axis of `batch`, rows belong to pictures in equal parts.
            prompts: as `encode_prompts` returns them, `rows` of them.
            multimask_output: three candidates, or one mask that in evaluation falls back to the best candidate where
                it is unstable.
        """
        return self.mask_decoder(features, prompts, multimask_output, **kwargs)

    def memorize(
        self, features: ImageFeatures, mask_logits: Tensor, object_score_logits: Tensor, is_prompted: Tensor
    ) -> Tensor:
        """Encodes masks on their frames into spatial memory.

        Args:
            features: raw, of `batch` or `rows` entries.
            mask_logits: (rows, 1, height, width); resized to the model's input size if they have another.
            object_score_logits: (rows, 1).
            is_prompted: (rows,) bool; in evaluation these rows are remembered as binary masks.

        Returns:
            (rows, memory_channels, height / 16, width / 16).
        """
        self.require_memory()
        size = (self.config.image_size, self.config.image_size)
        logits = mask_logits.float()
        if tuple(logits.shape[-2:]) != size:
            logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        binarise = is_prompted[:, None, None, None] & (not self.training)
        masks = torch.where(binarise, (logits > 0).float(), logits.sigmoid())
        masks = masks * self.config.sigmoid_scale_for_mem_enc + self.config.sigmoid_bias_for_mem_enc
        memory = self.memory_encoder(features.image_embedding, masks.to(features.image_embedding.dtype))
        if self.config.enable_occlusion_spatial_embedding:
            is_absent = (object_score_logits <= 0).to(memory.dtype)  # (rows, 1)
            memory = memory + (is_absent * self.occlusion_spatial_embedding_parameter)[..., None, None]
        return memory

    def object_pointers(self, mask_tokens: Tensor, object_score_logits: Tensor) -> Tensor:
        """What memory keeps of objects: (rows, channels) mask tokens and (rows, 1) scores to (rows, channels)."""
        self.require_memory()
        return torch.where(object_score_logits > 0, self.object_pointer_proj(mask_tokens), self.no_object_pointer)

    def require_memory(self) -> None:
        """Raises `MissingWeightsError` when the checkpoint holds no weights for video."""
        if self.config.image_only:
            raise MissingWeightsError(
                "this checkpoint has no memory weights (memory_attention, memory_encoder, ...): it segments "
                "pictures and cannot follow a video; load a checkpoint of model_type 'sam2_video', "
                "such as facebook/sam2.1-hiera-tiny"
            )

    # Pictures

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        pixel_values: Tensor | None = None,
        input_points: Tensor | None = None,
        input_labels: Tensor | None = None,
        input_boxes: Tensor | None = None,
        input_masks: Tensor | None = None,
        image_embeddings: list[Tensor] | None = None,
        multimask_output: bool = True,
        original_sizes: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> Sam2ImageSegmentationOutput:
        """Segments objects in pictures.

        Args:
            pixel_values: (batch, 3, image_size, image_size) from the processor. Either these or `image_embeddings`.
            input_points: (batch, objects, points, 2) as (x, y) in model pixels, from the processor.
            input_labels: (batch, objects, points): 1 inside, 0 outside, -10 padding; all inside if not given.
            input_boxes: (batch, objects, 4) as (x0, y0, x1, y1) in model pixels; four times -10: no box.
            input_masks: (batch, objects or 1, image_size / 4, image_size / 4), logits of an earlier `pred_masks`.
            image_embeddings: `image_embeddings` of an earlier output for the same pictures.
            multimask_output: three candidates per object (for one ambiguous click), or one mask (for boxes, several
                points or a mask).
            original_sizes: taken so that the processor's output can be passed on whole; not used.

        Returns:
            `Sam2ImageSegmentationOutput`. An object that is all padding has logits of -1024 and IoU 0.

        Raises:
            ValueError: shapes or values that cannot be meant.
            TypeError: an argument that does not exist.
        """
        _reject_unknown(kwargs)
        vision = None
        if (pixel_values is None) == (image_embeddings is None):
            raise ValueError("pass exactly one of `pixel_values` and `image_embeddings`")
        if image_embeddings is None:
            vision = self.vision_encoder(pixel_values, **kwargs)
            features = self.recall(self._project(vision))
        else:
            features = self._features_from(image_embeddings)
        prompts = prompt_rows(
            features.image_embedding.shape[0],
            input_points=input_points,
            input_labels=input_labels,
            input_boxes=input_boxes,
            input_masks=input_masks,
            mask_size=self.config.low_res_mask_size,
        )
        prediction = self._decode_groups(features, prompts, multimask_output, **kwargs)
        per_object = (prompts.batch, prompts.objects)
        return Sam2ImageSegmentationOutput(
            iou_scores=prediction.iou_scores.unflatten(0, per_object),
            pred_masks=prediction.mask_logits.unflatten(0, per_object),
            object_score_logits=prediction.object_score_logits.unflatten(0, per_object),
            image_embeddings=[features.high_res_0, features.high_res_1, features.image_embedding],
            vision_hidden_states=None if vision is None else vision.hidden_states,
            vision_attentions=None if vision is None else vision.attentions,
        )

    def get_image_embeddings(self, pixel_values: Tensor, **kwargs: Unpack[TransformersKwargs]) -> list[Tensor]:
        """The three maps that `forward` takes as `image_embeddings`, finest first."""
        features = self.recall(self.encode_image(pixel_values, **kwargs))
        return [features.high_res_0, features.high_res_1, features.image_embedding]

    @can_return_tuple
    def get_image_features(self, pixel_values: Tensor, **kwargs: Unpack[TransformersKwargs]) -> Sam2VisionEncoderOutput:
        """Output of the image encoder with maps as token matrices, as the library's own model gives it.

        Returns:
            `fpn_hidden_states`: (pixels, batch, channels) per level, the finer two after the decoder's projections.
            `fpn_position_encoding`: sine encodings, (pixels, batch, channels) per level.
        """
        vision = self.vision_encoder(pixel_values, **kwargs)
        features = self._project(vision)
        maps = (features.high_res_0, features.high_res_1, features.image_embedding)
        encodings = [
            sine_encoding_2d(self.config.hidden_size, *level.shape[-2:], device=level.device).to(level.dtype)
            for level in maps
        ]
        vision["fpn_hidden_states"] = tuple(level.flatten(2).permute(2, 0, 1) for level in maps)
        vision["fpn_position_encoding"] = tuple(
            encoding.flatten(1).T.unsqueeze(1).expand(-1, pixel_values.shape[0], -1) for encoding in encodings
        )
        return vision

    def get_prompt_embeddings(
        self,
        input_points: Tensor | None = None,
        input_labels: Tensor | None = None,
        input_boxes: Tensor | None = None,
        input_masks: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Encoded prompts: sparse (batch, objects, tokens, channels), dense (rows, channels, height, width)."""
        given = next((prompt for prompt in (input_points, input_boxes, input_masks) if prompt is not None), None)
        if given is None:
            raise ValueError("no prompt given; pass `input_points`, `input_boxes` or `input_masks`")
        prompts = prompt_rows(
            given.shape[0],
            input_points=input_points,
            input_labels=input_labels,
            input_boxes=input_boxes,
            input_masks=input_masks,
            mask_size=self.config.low_res_mask_size,
        )
        groups = list(prompts.groups())
        if len(groups) != 1 or groups[0][0] is not None:
            raise ValueError("objects with different numbers of points have no common shape; encode them one by one")
        embeddings = self.encode_prompts(groups[0][1], prompts.rows)
        dense = embeddings.dense.expand(prompts.rows, -1, self.config.grid_size, self.config.grid_size)
        return embeddings.sparse.unflatten(0, (prompts.batch, prompts.objects)), dense

    def get_image_wide_positional_embeddings(self) -> Tensor:
        """Fourier encoding of the prompt grid, (1, channels, height, width)."""
        grid = self.config.grid_size
        return self.shared_image_embedding.grid(grid, grid).to(self.no_memory_embedding.dtype)

    # Steps

    def _project(self, vision: Sam2VisionEncoderOutput) -> ImageFeatures:
        stride_4, stride_8, stride_16 = vision.fpn_hidden_states
        high_res_0, high_res_1 = self.mask_decoder.project_high_res(stride_4, stride_8)
        return ImageFeatures(
            image_embedding=stride_16,
            high_res_0=high_res_0,
            high_res_1=high_res_1,
            dense_position=self.get_image_wide_positional_embeddings(),
        )

    def _features_from(self, image_embeddings: list[Tensor]) -> ImageFeatures:
        if len(image_embeddings) != 3:
            raise ValueError(
                f"`image_embeddings` must be the three maps of an earlier output, got {len(image_embeddings)}"
            )
        high_res_0, high_res_1, image_embedding = image_embeddings
        return ImageFeatures(
            image_embedding=image_embedding,
            high_res_0=high_res_0,
            high_res_1=high_res_1,
            dense_position=self.get_image_wide_positional_embeddings(),
        )

    def _decode_groups(
        self, features: ImageFeatures, prompts: PromptRows, multimask_output: bool, **kwargs
    ) -> MaskPrediction:
        """Decodes the objects of a batch, group by group of equally many points, back in their order."""
        parts: list[tuple[Tensor, MaskPrediction]] = []
        for rows, group in prompts.groups():
            if rows is None:
                embeddings = self.encode_prompts(group, prompts.rows)
                return self.decode_masks(features, embeddings, multimask_output, **kwargs)
            embeddings = self.encode_prompts(group, len(rows))
            chosen = features.of_pictures(rows // prompts.objects)
            parts.append((rows, self.decode_masks(chosen, embeddings, multimask_output, **kwargs)))
        return _in_order(prompts.rows, parts)

    def _memory_tokens(self, memory: MemoryBatch) -> tuple[Tensor, Tensor, int]:
        """Memory as one matrix (rows, tokens, memory_channels), its positions, and how many tokens are pointers."""
        spatial = memory.spatial.flatten(3).transpose(2, 3)  # (rows, frames, pixels, memory_channels)
        time_row = self.config.num_maskmem - 1 - memory.spatial_time
        time = self.memory_temporal_positional_encoding[:, 0][time_row]  # (rows, frames, 1, memory_channels)
        place = self.memory_position.table.flatten(1).T.to(time.dtype)  # (pixels, memory_channels)
        pointers, pointer_position = self._pointer_tokens(memory)
        tokens = torch.cat((spatial.flatten(1, 2).to(pointers.dtype), pointers), dim=1)
        position = torch.cat(((place + time).flatten(1, 2), pointer_position), dim=1)
        return tokens, position, pointers.shape[1]

    def _pointer_tokens(self, memory: MemoryBatch) -> tuple[Tensor, Tensor]:
        """Each pointer cut into tokens of memory width, pointer by pointer, and their positions."""
        parts = self.config.hidden_size // self.config.memory_encoder_output_channels
        pointers = memory.pointers.unflatten(-1, (parts, -1)).flatten(1, 2)
        if not self.config.enable_temporal_pos_encoding_for_object_pointers:
            return pointers, torch.zeros_like(pointers)
        time = sine_encoding_1d(memory.pointer_time, self.config.hidden_size).to(pointers.dtype)
        return pointers, self.temporal_positional_encoding_projection_layer(time).repeat_interleave(parts, dim=1)


def _in_order(rows: int, parts: list[tuple[Tensor, MaskPrediction]]) -> MaskPrediction:
    """One prediction from groups of rows. Rows in no group are objects without a prompt: absent."""
    if not parts:
        raise ValueError("every object is padding; give at least one point, box or mask")

    def gather(field: str, missing: float) -> Tensor:
        first = getattr(parts[0][1], field)
        gathered = first.new_full((rows, *first.shape[1:]), missing)
        for index, part in parts:
            gathered = gathered.index_copy(0, index, getattr(part, field))
        return gathered

    return MaskPrediction(
        mask_logits=gather("mask_logits", NO_OBJECT_LOGIT),
        iou_scores=gather("iou_scores", 0.0),
        object_score_logits=gather("object_score_logits", NO_OBJECT_LOGIT),
        mask_tokens=gather("mask_tokens", 0.0),
    )


def _reject_unknown(kwargs: dict) -> None:
    if unknown := sorted(set(kwargs) - set(TransformersKwargs.__annotations__)):
        raise TypeError(f"Sam2Model.forward() got an unexpected keyword argument {unknown[0]!r}")
