# Copyright 2026 The sam2_hf authors. Licensed under the Apache License, Version 2.0.
"""`Sam2Model`: one model for pictures and videos, with the library's face.

`forward` is the four verbs that a still picture needs, in a row; the verbs themselves are in `verbs.py`.
"""

import inspect
from collections.abc import Callable, Collection
from functools import wraps
from pathlib import Path
from types import MethodType
from typing import Any

from huggingface_hub import HfApi
from torch import Tensor, nn
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from sam2_hf.disk.whole import write_whole
from sam2_hf.errors import CheckpointError
from sam2_hf.modeling.compiling import PARTS, CompileSettings, compile_parts, uncompile_parts
from sam2_hf.modeling.losses import LossWeights, label_loss
from sam2_hf.modeling.model_card import uploaded_card
from sam2_hf.modeling.outputs import (
    ImageFeatures,
    MaskPrediction,
    Sam2ImageSegmentationOutput,
    Sam2VisionEncoderOutput,
)
from sam2_hf.modeling.position_embedding import sine_encoding_2d
from sam2_hf.modeling.prompt_groups import PromptRows, in_order, prompt_rows
from sam2_hf.modeling.verbs import Sam2Verbs
from sam2_hf.shapes import check_shape

CARD = "README.md"
KNOWN_TO_LOAD = ("embedded", "auto")  # names of `sam2_hf.load`
WEIGHT_SUFFIXES = (".pt", ".pth", ".bin", ".safetensors")


class _KnownByItsLabels:
    """A forward whose class tells `Trainer` that `labels`, and nothing else, is what a batch with a loss must have.

    `Trainer` takes every parameter of the class's forward with "label" in its name for that, and gives no `eval_loss`
    to batches of boxes, which have no `input_labels`. Instances tell the whole signature: columns are kept by it.
    """

    def __init__(self, forward: Callable):
        self._forward = forward

    def __get__(self, instance, owner: type) -> Callable:
        if instance is not None:
            return MethodType(self._forward, instance)

        @wraps(self._forward)
        def forward(*args, **kwargs):
            return self._forward(*args, **kwargs)

        signature = inspect.signature(self._forward)
        kept = [parameter for name, parameter in signature.parameters.items() if name != "input_labels"]
        forward.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
        return forward


class Sam2Model(Sam2Verbs):
    """Segment Anything 2 / 2.1 for pictures and videos (Ravi et al. 2024, arXiv 2408.00714).

    ```python
    model = Sam2Model.from_pretrained("facebook/sam2.1-hiera-tiny")
    outputs = model(**processor(images=image, input_points=[[500, 375]], return_tensors="pt"))
    ```
    """

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """As in any model of the library, from a folder or a Hub repository.

        Raises:
            CheckpointError: the name of a weight file, or one that `sam2_hf.load` knows.
        """
        name = str(pretrained_model_name_or_path or "")
        if (name in KNOWN_TO_LOAD or name.endswith(WEIGHT_SUFFIXES)) and not Path(name).is_dir():
            raise CheckpointError(
                f"{name}: from_pretrained takes a folder or a Hub repository; use sam2_hf.load({name!r}), "
                "which returns model, processor and a line that says which it is"
            )
        return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)

    def save_pretrained(self, save_directory, *args, push_to_hub: bool = False, **kwargs) -> None:
        """As in any model of the library; a README.md that lies in the folder stays as it is when it is uploaded."""
        card = Path(save_directory) / CARD
        own = card.read_bytes() if push_to_hub and card.is_file() else None
        self._own_card = own
        try:
            super().save_pretrained(save_directory, *args, push_to_hub=push_to_hub, **kwargs)
        finally:
            self._own_card = None
            if own is not None and card.read_bytes() != own:
                write_whole(card, own, overwrite=True)

    def _upload_modified_files(self, working_dir, repo_id: str, files_timestamps: dict, **kwargs):
        """The last step of the library's uploads: where the repository has no card, its empty one is replaced."""
        token = kwargs.get("token")
        if not HfApi(token=token).file_exists(repo_id, CARD):
            text = uploaded_card(self.config, repo_id, self.name_or_path, self.model_tags)
            write_whole(Path(working_dir) / CARD, self._own_card or text.encode(), overwrite=True)
        return super()._upload_modified_files(working_dir, repo_id, files_timestamps, **kwargs)

    _own_card: bytes | None = None
    accepts_loss_kwargs = False  # the loss is a mean over objects: `Trainer` divides by its accumulation steps

    def get_input_embeddings(self) -> nn.Module:
        return self.vision_encoder.get_input_embeddings()

    # Speed

    def compile_for_inference(
        self,
        parts: Collection[str] = PARTS,
        *,
        backend: str | Callable = "inductor",
        mode: str | None = None,
        dynamic: bool = True,
        options: dict[str, Any] | None = None,
    ) -> "Sam2Model":
        """Compiles the parts of this model in place with `torch.compile`; `uncompile` takes that back.

        Image encoder, prompt encoder, mask decoder, memory attention and memory encoder are each compiled when they
        are first used, once for one object and once for several; then neither the number of objects, clicks, remembered
        maps or pointers makes a new graph. Weights, files and copies of the model do not change. Calling it again with
        the same arguments changes nothing; with others, the parts are compiled anew.

        What was compiled is used in evaluation mode where no gradients are wanted (`torch.inference_mode()`, as in
        sessions and pipelines, or `torch.no_grad()`, which has graphs of its own) and neither attentions nor hidden
        states are asked for. Everywhere else the model computes as before.

        Args:
            parts: which of "image_encoder", "prompt_encoder", "mask_decoder", "memory_attention" and "memory_encoder".
            backend: as `torch.compile` takes it.
            mode: as `torch.compile` takes it. "reduce-overhead" and "max-autotune" use CUDA graphs, one for each
                combination of sizes; not tested.
            dynamic: False makes a graph for each combination of sizes, of which PyTorch keeps a few
                (`torch._dynamo.config.recompile_limit`) and computes the others without one.
            options: of the backend, instead of `mode`.

        Returns:
            This model.

        Raises:
            ValueError: a part that does not exist.
            ValueError: weights are offloaded, so that every layer first has to fetch its own.
            RuntimeError: a mode or option that PyTorch does not know.
        """
        if any(hasattr(module, "_hf_hook") for module in self.modules()):
            raise ValueError(
                "a model whose weights are offloaded or spread over devices cannot be compiled: accelerate moves them "
                "between the layers; load it on one device, with `.to(device)` in place of `device_map`"
            )
        chosen = [parts] if isinstance(parts, str) else list(parts)
        if unknown := [part for part in chosen if part not in PARTS]:
            raise ValueError(f"no part of the model is called {unknown[0]!r}; `parts` are any of {', '.join(PARTS)}")
        settings = CompileSettings(backend=backend, mode=mode, dynamic=dynamic, options=options)
        compile_parts(self, settings, chosen)
        return self

    def uncompile(self) -> "Sam2Model":
        """Takes `compile_for_inference` back; without it, nothing happens. Returns this model."""
        uncompile_parts(self)
        return self

    # Pictures

    @_KnownByItsLabels
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
        labels: Tensor | None = None,
        original_sizes: Tensor | None = None,
        inference_session=None,
        frame_idx: int | None = None,
        frame: Tensor | None = None,
        reverse: bool = False,
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
            labels: (batch, objects, height, width) true masks of 0 and 1 at any size, which give `loss`. Negative
                pixels are ignored, and so are objects that are negative everywhere.
            original_sizes: taken so that the processor's output can be passed on whole; not used.
            inference_session, frame_idx, frame, reverse: the library's way to ask for a frame of a video; see
                `processor.init_video_session`. `Sam2InferenceSession` is the better one.

        Returns:
            `Sam2ImageSegmentationOutput`. An object without any prompt, all padding, has logits of -1024 and IoU 0.

        Raises:
            ValueError: shapes or values that cannot be meant.
            TypeError: an argument that does not exist.
        """
        kwargs.pop("use_cache", None)  # the library's Trainer writes it into every configuration
        _reject_unknown(kwargs)
        if not isinstance(pixel_values, Tensor | None):
            found = type(pixel_values).__name__
            raise TypeError(f"`pixel_values` is a {found}, not a tensor; pass a session as `inference_session=`")
        if inference_session is not None:
            return inference_session.answer(self, frame_idx, frame, reverse)
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
            loss=None if labels is None else _loss(prediction, labels, per_object),
            iou_scores=prediction.iou_scores.unflatten(0, per_object),
            pred_masks=prediction.mask_logits.unflatten(0, per_object),
            object_score_logits=prediction.object_score_logits.unflatten(0, per_object),
            image_embeddings=[features.high_res_0, features.high_res_1, features.image_embedding],
            vision_hidden_states=None if vision is None else vision.hidden_states,
            vision_attentions=None if vision is None else vision.attentions,
        )

    def propagate_in_video_iterator(
        self,
        inference_session,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
        show_progress_bar: bool = False,
    ):
        """The library's name for a pass through a session of `processor.init_video_session`."""
        return inference_session.passes(self, start_frame_idx, max_frame_num_to_track, reverse, bar=show_progress_bar)

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
        """Encoded prompts.

        Returns:
            sparse (batch, objects, tokens, channels), and dense (batch, channels, height, width); where objects of a
            picture have masks of their own, dense (batch, objects, channels, height, width).
        """
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
        per_object = (prompts.batch, prompts.objects)
        dense = embeddings.dense.expand(prompts.rows, -1, self.config.grid_size, self.config.grid_size)
        dense = dense.unflatten(0, per_object)
        is_shared = input_masks is None or input_masks.shape[1] == 1
        return embeddings.sparse.unflatten(0, per_object), dense[:, 0] if is_shared else dense

    # Steps

    def _features_from(self, image_embeddings: list[Tensor]) -> ImageFeatures:
        if len(image_embeddings) != 3:
            raise ValueError(
                f"`image_embeddings` must be the three maps of an earlier output, got {len(image_embeddings)}"
            )
        high_res_0, high_res_1, image_embedding = image_embeddings
        return ImageFeatures(
            image_embedding=image_embedding.to(self.dtype),
            high_res_0=high_res_0.to(self.dtype),
            high_res_1=high_res_1.to(self.dtype),
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
            picture = features.of_picture(int(rows[0]) // prompts.objects)
            parts.append((rows, self.decode_masks(picture, embeddings, multimask_output, **kwargs)))
        return in_order(prompts.rows, parts)


def _loss(prediction: MaskPrediction, labels: Tensor, per_object: tuple[int, int]) -> Tensor:
    check_shape("labels", labels, "batch objects height width")
    if tuple(labels.shape[:2]) != per_object:
        raise ValueError(f"`labels` are for (batch, objects) {tuple(labels.shape[:2])}, the prompts for {per_object}")
    return label_loss(
        prediction.mask_logits,
        prediction.iou_scores,
        prediction.object_score_logits,
        labels.flatten(0, 1).to(prediction.mask_logits.device),
        LossWeights(),
    )


def _reject_unknown(kwargs: dict) -> None:
    if unknown := sorted(set(kwargs) - set(TransformersKwargs.__annotations__)):
        raise TypeError(f"Sam2Model.forward() got an unexpected keyword argument {unknown[0]!r}")
