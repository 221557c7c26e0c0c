# Copyright 2026 The sam2_hf authors. Licensed under the Apache License, Version 2.0.
"""The network of SAM 2 and the five verbs that everything that segments speaks to it.

    encode_image    pixels                         -> ImageFeatures
    encode_prompts  points, labels, masks          -> PromptEmbeddings
    recall          ImageFeatures, memory or None  -> ImageFeatures conditioned on what is remembered
    decode_masks    ImageFeatures, prompts         -> MaskPrediction
    memorize        ImageFeatures, masks, scores   -> spatial memory

The model knows no time: which frames are remembered is the tracker's business. Video also needs one mask per object
(`decode_objects`), masks that the user drew (`adopt_masks`) and what memory keeps of an object (`object_pointers`).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.output_capturing import OutputRecorder

from sam2_hf.errors import MissingWeightsError
from sam2_hf.modeling.compiling import compilable
from sam2_hf.modeling.configuration import Sam2Config, as_sam2_config
from sam2_hf.modeling.layers import MLP, Remembered
from sam2_hf.modeling.mask_decoder import Sam2MaskDecoder
from sam2_hf.modeling.memory_attention import Sam2MemoryAttention
from sam2_hf.modeling.memory_encoder import Sam2MemoryEncoder
from sam2_hf.modeling.object_head import adopt_masks, choose_masks
from sam2_hf.modeling.offloading import brings_own_weights, execution_device
from sam2_hf.modeling.outputs import (
    ImageFeatures,
    MaskPrediction,
    MemoryBatch,
    ObjectPrediction,
    PointLabel,
    PromptBatch,
    PromptEmbeddings,
    Sam2VisionEncoderOutput,
)
from sam2_hf.modeling.position_embedding import FOURIER_COPY, FourierEmbedding, SineTable, sine_encoding_1d
from sam2_hf.modeling.pretrained import Sam2PreTrainedModel, Sam2VisionModel, inherit_attention
from sam2_hf.modeling.prompt_encoder import Sam2PromptEncoder
from sam2_hf.modeling.two_way_transformer import Sam2TwoWayAttention

OBJECT_POINTER_DEPTH = 3
MEMORY_PREFIXES = (
    *("memory_attention", "memory_encoder", "memory_temporal_positional_encoding", "mask_downsample"),
    *("no_memory_positional_encoding", "no_object_pointer", "object_pointer_proj"),
    *("occlusion_spatial_embedding_parameter", "temporal_positional_encoding_projection_layer"),
)


class Sam2Verbs(Sam2PreTrainedModel):
    """The parts of SAM 2 and its verbs; `Sam2Model` puts the library's face on them."""

    _keep_in_fp32_modules_strict = {"positional_embedding"}  # noqa: RUF012
    _can_record_outputs = {  # noqa: RUF012
        "mask_decoder_attentions": OutputRecorder(Sam2TwoWayAttention, index=1)
    }

    def __init__(self, config: Sam2Config):
        super().__init__(as_sam2_config(config))
        config = self.config
        inherit_attention(config, config.mask_decoder_config)
        width = config.hidden_size
        self.shared_image_embedding = FourierEmbedding(width, config.prompt_encoder_config.scale)
        self.vision_encoder = Sam2VisionModel(config.vision_config)
        self.prompt_encoder = Sam2PromptEncoder(config.prompt_encoder_config, self.shared_image_embedding)
        self.mask_decoder = Sam2MaskDecoder(config.mask_decoder_config)
        self.no_memory_embedding = nn.Parameter(torch.zeros(1, 1, width))
        self._dense_position = Remembered()
        if config.image_only:  # the memory part of a file is left out because it was asked for, and only then
            self._keys_to_ignore_on_load_unexpected = {rf"^{prefix}" for prefix in MEMORY_PREFIXES}
        else:
            self._add_memory(config)
        self.register_state_dict_post_hook(_one_tensor_per_name)
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

    @property
    def execution_device(self) -> torch.device:
        """Where the model computes; `device` is where its weights are, which for offloaded ones is nowhere."""
        return execution_device(self)

    # The five verbs

    def encode_image(self, pixel_values: Tensor, **kwargs: Unpack[TransformersKwargs]) -> ImageFeatures:
        """Encodes pictures (batch, 3, image_size, image_size) once; the result serves any number of prompts."""
        return self._project(self.vision_encoder(pixel_values, **kwargs))

    def encode_prompts(self, prompts: PromptBatch, rows: int) -> PromptEmbeddings:
        """Encodes the prompts of `rows` objects that have equally many points."""
        return self.prompt_encoder(prompts, rows)

    @brings_own_weights
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

    @brings_own_weights
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
        return self._memorize(features.image_embedding, mask_logits.float(), object_score_logits, is_prompted)

    @compilable("memory_encoder", image_embedding=(0,), mask_logits=(0,), object_score_logits=(0,), is_prompted=(0,))
    def _memorize(
        self, image_embedding: Tensor, mask_logits: Tensor, object_score_logits: Tensor, is_prompted: Tensor
    ) -> Tensor:
        size = (self.config.image_size, self.config.image_size)
        if tuple(mask_logits.shape[-2:]) != size:
            mask_logits = F.interpolate(mask_logits, size=size, mode="bilinear", align_corners=False)
        binarise = is_prompted[:, None, None, None] & (not self.training)
        masks = torch.where(binarise, (mask_logits > 0).float(), mask_logits.sigmoid())
        masks = masks * self.config.sigmoid_scale_for_mem_enc + self.config.sigmoid_bias_for_mem_enc
        memory = self.memory_encoder(image_embedding, masks.to(image_embedding.dtype))
        if self.config.enable_occlusion_spatial_embedding:
            is_absent = (object_score_logits <= 0).to(memory.dtype)  # (rows, 1)
            memory = memory + (is_absent * self.occlusion_spatial_embedding_parameter)[..., None, None]
        return memory

    @brings_own_weights
    def decode_objects(
        self,
        features: ImageFeatures,
        prompts: PromptBatch,
        rows: int,
        *,
        multimask_output: bool,
        stable_fallback: bool = True,
    ) -> ObjectPrediction:
        """One mask per object for video: decodes prompts on conditioned features, chooses, hides the absent.

        Args:
            prompts: without points one explicit point that is not a point takes their place.
            stable_fallback: False switches the fallback of unstable single masks off.
        """
        prediction = self.decode_candidates(features, prompts, rows, multimask_output, stable_fallback)
        return choose_masks(prediction, self.object_pointers)

    @brings_own_weights
    def decode_candidates(
        self,
        features: ImageFeatures,
        prompts: PromptBatch,
        rows: int,
        multimask_output: bool,
        stable_fallback: bool = True,
    ) -> MaskPrediction:
        """All masks of which `decode_objects` chooses one per object; arguments as there."""
        if prompts.points is None:
            device = features.image_embedding.device
            nowhere = torch.zeros(rows, 1, 2, device=device)
            labels = torch.full((rows, 1), PointLabel.NOT_A_POINT, device=device)
            prompts = PromptBatch(points=nowhere, labels=labels, mask_logits=prompts.mask_logits)
        embeddings = self.encode_prompts(prompts, rows)
        if stable_fallback:
            return self.decode_masks(features, embeddings, multimask_output)
        return self.mask_decoder.without_fallback(features, embeddings, multimask_output)

    @brings_own_weights
    def adopt_masks(self, features: ImageFeatures, masks: Tensor) -> ObjectPrediction:
        """Takes masks that the user gave as the output on raw features.

        Args:
            masks: (rows, 1, image_size, image_size) of 0 and 1; an empty one says that the object is not there.
        """
        self.require_memory()
        prompts = PromptBatch(mask_logits=self.mask_downsample(masks.to(self.dtype)))
        prediction = self.decode_candidates(features, prompts, masks.shape[0], multimask_output=False)
        drawn = choose_masks(prediction, self.object_pointers)
        return adopt_masks(masks, drawn.object_pointers, self.no_object_pointer, self.config.low_res_mask_size)

    @brings_own_weights
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

    def get_image_wide_positional_embeddings(self) -> Tensor:
        """Fourier encoding of the prompt grid, (1, channels, height, width)."""
        grid = self.config.grid_size
        weights = self.shared_image_embedding.positional_embedding, self.no_memory_embedding
        return self._dense_position.of((grid, grid), weights, self._grid_encoding)

    def _grid_encoding(self, height: int, width: int) -> Tensor:
        return self.shared_image_embedding.grid(height, width).to(self.no_memory_embedding.dtype)

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

    def _memory_tokens(self, memory: MemoryBatch) -> tuple[Tensor, Tensor, int]:
        """Memory as one matrix (rows, tokens, memory_channels), its positions, and how many tokens are pointers."""
        spatial = memory.spatial.to(self.dtype).flatten(3).transpose(2, 3)  # (rows, frames, pixels, memory_channels)
        time_row = self.config.num_maskmem - 1 - memory.spatial_time
        time = self.memory_temporal_positional_encoding[:, 0][time_row]  # (rows, frames, 1, memory_channels)
        place = self.memory_position.table.flatten(1).T.to(time.dtype)  # (pixels, memory_channels)
        pointers, pointer_position = self._pointer_tokens(memory)
        tokens = torch.cat((spatial.flatten(1, 2), pointers), dim=1)
        position = torch.cat(((place + time).flatten(1, 2), pointer_position), dim=1)
        return tokens, position, pointers.shape[1]

    def _pointer_tokens(self, memory: MemoryBatch) -> tuple[Tensor, Tensor]:
        """Each pointer cut into tokens of memory width, pointer by pointer, and their positions."""
        parts = self.config.hidden_size // self.config.memory_encoder_output_channels
        pointers = memory.pointers.to(self.dtype).unflatten(-1, (parts, -1)).flatten(1, 2)
        if not self.config.enable_temporal_pos_encoding_for_object_pointers:
            return pointers, torch.zeros_like(pointers)
        time = sine_encoding_1d(memory.pointer_time, self.config.hidden_size).to(pointers.dtype)
        return pointers, self.temporal_positional_encoding_projection_layer(time).repeat_interleave(parts, dim=1)


def _one_tensor_per_name(model: nn.Module, state_dict: dict[str, Tensor], prefix: str, metadata) -> None:
    """The Fourier matrix is one in memory and has two published names: files want a tensor for each."""
    if prefix + FOURIER_COPY in state_dict:
        state_dict[prefix + FOURIER_COPY] = state_dict[prefix + FOURIER_COPY].clone()
