"""`Sam2Processor`: pictures and prompts in the user's pixels to the model's inputs, and masks back."""

import difflib
import inspect
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import BatchFeature
from transformers.image_utils import SizeDict
from transformers.processing_utils import ImagesKwargs, ProcessingKwargs, ProcessorMixin, Unpack

from sam2_hf.errors import CheckpointMismatchError, PromptError
from sam2_hf.modeling.configuration import Sam2Config
from sam2_hf.processing.image import Sam2ImageProcessor, Sam2ImageProcessorKwargs, check_is_repository
from sam2_hf.processing.masks import post_process_masks
from sam2_hf.processing.prompts import (
    PAD,
    ObjectPrompt,
    as_tensor,
    check_inside,
    finite_logits,
    mask_logits_of,
    prompt_tensors,
    read_prompts,
)

KINDS_OF_KWARGS = ("images_kwargs", "common_kwargs", "return_tensors")
COORDINATES = ("input_points", "input_boxes")


class Sam2ProcessorKwargs(ProcessingKwargs, total=False):  # type: ignore[call-arg]
    """Keyword arguments for the parts of `Sam2Processor`."""

    images_kwargs: Sam2ImageProcessorKwargs


class Sam2Inputs(BatchFeature):
    """Inputs of `Sam2Model`. `to(dtype)` leaves coordinates in float32: half precision would move clicks by pixels."""

    def to(self, *args, **kwargs) -> "Sam2Inputs":
        coordinates = {name: self.pop(name) for name in COORDINATES if name in self}
        super().to(*args, **kwargs)
        device = self["original_sizes"].device
        self.update({name: tensor.to(device) for name, tensor in coordinates.items()})
        return self


class Sam2Processor(ProcessorMixin):
    """Prepares pictures with points, boxes and masks for `Sam2Model`.

    ```python
    inputs = processor(images=image, input_points=[[[[500, 375]]]], input_labels=[[[1]]], return_tensors="pt")
    masks = processor.post_process_masks(model(**inputs).pred_masks, inputs["original_sizes"])
    ```

    Args:
        image_processor: the image half.
        target_size: taken because published files have it; the size of the image processor rules.
        point_pad_value: the published files' name for the padding label, always -10.
    """

    valid_processor_kwargs = Sam2ProcessorKwargs

    def __init__(
        self, image_processor: Sam2ImageProcessor, target_size: int | None = None, point_pad_value: int = PAD, **kwargs
    ):
        super().__init__(image_processor, **kwargs)
        if point_pad_value != PAD:
            raise ValueError(f"`point_pad_value` is {point_pad_value}, but the model takes only {PAD} for padding")
        self.target_size = image_processor.size["height"]
        self.point_pad_value = point_pad_value

    @classmethod
    def from_config(cls, config: Sam2Config) -> "Sam2Processor":
        """The processor that a configuration asks for: its picture size, the mean and deviation of every release."""
        side, mask_side = config.image_size, config.low_res_mask_size
        size, mask_size = ({"height": value, "width": value} for value in (side, mask_side))
        return cls(Sam2ImageProcessor(size=size, mask_size=mask_size))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs):
        """Loads a processor from a folder or a Hub repository, whatever SAM 2 class wrote it.

        Raises:
            CheckpointError: the name of a weight file, or one that `sam2_hf.load` knows.
            CheckpointMismatchError: the picture size in the processor's file contradicts the model's configuration.
        """
        check_is_repository(pretrained_model_name_or_path)
        loading = {key: kwargs[key] for key in _LOADING_KWARGS if key in kwargs}
        processor = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        if "size" not in kwargs:
            _check_size(processor, pretrained_model_name_or_path, loading)
        return processor

    @classmethod
    def _get_arguments_from_pretrained(cls, pretrained_model_name_or_path, processor_dict=None, **kwargs):
        """Our own image processor, without the registry: its name is taken there by a class that needs torchvision."""
        return [Sam2ImageProcessor.from_pretrained(pretrained_model_name_or_path, **kwargs)]

    def __call__(
        self,
        images=None,
        segmentation_maps=None,
        input_points=None,
        input_labels=None,
        input_boxes=None,
        input_masks=None,
        masks=None,
        original_sizes=None,
        normalized: bool | None = None,
        **kwargs: Unpack[Sam2ProcessorKwargs],
    ) -> BatchFeature:
        """Preprocesses pictures, prompts, or both.

        Args:
            images: path, URL, PIL image, array, tensor, or a list of these; sizes may differ.
            segmentation_maps: per picture an id map or instance masks; they become `labels`.
            input_points: [image][object][point][x, y] in pixels of the original picture. For one picture the outer
                levels may be left out. Objects may have different numbers of points, an empty list for none.
            input_labels: [image][object][point], 1 inside and 0 outside; all inside if not given.
            input_boxes: [image][object][x0, y0, x1, y1]; an empty list for an object without a box.
            input_masks: low-resolution logits of an earlier `pred_masks`, (batch, objects, height, width).
            masks: binary masks of any size, [image](objects, height, width); they become `input_masks`.
            original_sizes: (height, width) per picture, needed for prompts without pictures.
            normalized: points and boxes are fractions of width and height; default: pixels.
            kwargs: for the image processor, also as `images_kwargs={...}`; `return_tensors="pt" | "np"`.

        Returns:
            `pixel_values`, `original_sizes` and, as given, `input_points`, `input_labels`, `input_boxes`,
            `input_masks`, ready for `model(**inputs)`; and `labels`, from segmentation maps, for training.

        Raises:
            PromptError: prompts that cannot be meant.
            SourceError: a picture that cannot be read without guessing.
            TypeError: an argument that does not exist.
        """
        _refuse_unknown(kwargs)
        images_kwargs = self._merge_kwargs(Sam2ProcessorKwargs, **kwargs)["images_kwargs"]
        return_tensors = images_kwargs.pop("return_tensors", None)
        if images is None:
            if original_sizes is None:
                raise ValueError("pass `images`, or `original_sizes` for prompts without pictures")
            features = BatchFeature({"original_sizes": as_tensor(original_sizes).long().reshape(-1, 2)})
        else:
            features = self.image_processor(images, segmentation_maps, return_tensors="pt", **images_kwargs)
        target = self._target_size(images_kwargs)
        sizes = features["original_sizes"].tolist()
        asked = read_prompts(len(sizes), input_points, input_labels, input_boxes)
        mask_logits = self._mask_logits(input_masks, masks, len(sizes), target)
        if mask_logits is None:
            _check_prompted(asked)
        prompts = self._prompts(asked, sizes, target, bool(normalized))
        named = zip(("input_points", "input_labels", "input_boxes"), prompts, strict=True)
        features.update({name: tensor for name, tensor in named if tensor is not None})
        if mask_logits is not None:
            features["input_masks"] = mask_logits
        return _as_type(Sam2Inputs(features), return_tensors)

    def prompt_inputs(
        self, objects: Sequence[ObjectPrompt], original_size: tuple[int, int], normalized: bool = False
    ) -> dict[str, Tensor]:
        """The prompts of one picture as the model takes them, without the picture.

        Args:
            objects: as `sam2_hf.processing.requests.requests_from` reads them; all with a mask or all without.
            original_size: (height, width) of the picture.
            normalized: points and boxes are fractions of width and height.

        Returns:
            As given, `input_points` (1, objects, points, 2), `input_labels` (1, objects, points), `input_boxes`
            (1, objects, 4) and `input_masks` (1, objects, height, width), in model pixels.

        Raises:
            PromptError: prompts that cannot be meant.
        """
        target = self._target_size({})
        found = (_mask_input(prompt, (target.height // 4, target.width // 4)) for prompt in objects)
        masks = [mask for mask in found if mask is not None]
        if not masks:
            _check_prompted([list(objects)])
        values = self._prompts([list(objects)], [original_size], target, normalized)
        named = dict(zip(("input_points", "input_labels", "input_boxes"), values, strict=True))
        named["input_masks"] = torch.stack(masks, dim=1) if masks else None
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def post_process_masks(
        self, masks, original_sizes, mask_threshold: float = 0.0, binarize: bool = True, **kwargs
    ) -> list[Tensor]:
        """`pred_masks` to masks at each picture's own size; see `sam2_hf.processing.masks.post_process_masks`."""
        return post_process_masks(masks, original_sizes, mask_threshold, binarize, **kwargs)

    def init_video_session(self, video=None, **placement):
        """The library's way to begin a video; arguments as for `sam2_hf.tracking.library.LibrarySession`.

        Its API puts this on the processor: the one place where a room calls one above it.
        """
        from sam2_hf.tracking.library import LibrarySession

        return LibrarySession(self, video, **placement)

    def add_inputs_to_inference_session(
        self,
        inference_session,
        frame_idx: int,
        obj_ids,
        input_points=None,
        input_labels=None,
        input_boxes=None,
        input_masks=None,
        original_size=None,
        clear_old_inputs: bool = True,
    ):
        """The library's way to say where objects are: `[image][object][point][x, y]`, one object per id."""
        if original_size is not None:
            inference_session.original_size = tuple(int(side) for side in original_size)
        inference_session.add_inputs(
            frame_idx, obj_ids, input_points, input_labels, input_boxes, input_masks, clear_old_inputs
        )
        return inference_session

    @property
    def model_input_names(self) -> list[str]:
        """What pictures alone become; prompts add fields of their own names."""
        return [*self.image_processor.model_input_names, "original_sizes"]

    def _target_size(self, images_kwargs: dict) -> SizeDict:
        """The size that this call resizes to: an override moves the prompts as well."""
        size = images_kwargs.get("size")
        return (
            self.image_processor.size if size is None else self.image_processor._standardize_kwargs(size=size)["size"]
        )

    @staticmethod
    def _prompts(images: list[list[ObjectPrompt]], sizes: list, target: SizeDict, normalized: bool):
        """Points, labels and boxes in model pixels."""
        for objects, size in zip(images, sizes, strict=True):
            check_inside(objects, tuple(size), normalized)
        frames = [(1, 1) if normalized else size for size in sizes]
        scales = [(target.width / width, target.height / height) for height, width in frames]
        return prompt_tensors(images, scales)

    @staticmethod
    def _mask_logits(input_masks, masks, num_images: int, target: SizeDict) -> Tensor | None:
        """(batch, objects, height, width) logits at stride 4."""
        if input_masks is not None and masks is not None:
            raise PromptError("pass `input_masks` (logits) or `masks` (binary), not both")
        if masks is not None:
            per_image = list(masks) if num_images > 1 else [masks[0] if _is_nested(masks) else masks]
            if len(per_image) != num_images:
                raise PromptError(f"`masks` has entries for {len(per_image)} pictures, but there are {num_images}")
            found = [mask_logits_of(entry, (target.height // 4, target.width // 4)) for entry in per_image]
            if len({len(entry) for entry in found}) != 1:
                raise PromptError(
                    "`masks` must have equally many objects in every picture; call the pictures one by one"
                )
            return torch.stack(found)
        if input_masks is None:
            return None
        logits = finite_logits("input_masks", input_masks)
        return logits.reshape((1,) * max(0, 4 - logits.dim()) + tuple(logits.shape))


_LOADING_KWARGS = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")


def _check_size(processor: Sam2Processor, path, loading: dict) -> None:
    try:
        config, _ = Sam2Config.get_config_dict(path, **loading)
    except OSError:  # a folder with nothing but a processor
        return
    expected = config.get("image_size") or config.get("prompt_encoder_config", {}).get("image_size")
    found = processor.image_processor.size["height"]
    if expected is not None and expected != found:
        raise CheckpointMismatchError(
            f"{path}: the processor resizes to {found}, but config.json says image_size {expected}; "
            f"repair one of the files, or pass size={expected} to from_pretrained"
        )


def _check_prompted(images: list[list[ObjectPrompt]]) -> None:
    """Without mask prompts every object needs a point or a box."""
    for i, objects in enumerate(images):
        for j, prompt in enumerate(objects):
            if not prompt.points and not prompt.box:
                raise PromptError(f"object {j} of picture {i} has neither a point nor a box")


def _mask_input(prompt: ObjectPrompt, size: tuple[int, int]) -> Tensor | None:
    """The mask of a prompt as the model takes it, (1, height, width) logits; None without one."""
    if prompt.mask is not None:
        return mask_logits_of(prompt.mask, size)
    if prompt.mask_logits is None:
        return None
    logits = finite_logits("mask_logits", prompt.mask_logits)
    return logits.reshape(1, *logits.shape[-2:])


def _is_nested(masks) -> bool:
    """Whether the masks of a single picture come with the level of pictures around them."""
    if isinstance(masks, (list, tuple)):
        return len(masks) == 1 and np.ndim(masks[0]) == 3
    return masks.ndim == 4


def _refuse_unknown(kwargs: dict) -> None:
    """Raises `TypeError` for what the library would only warn of: a prompt under a wrong name is no prompt."""
    own = [name for name in inspect.signature(Sam2Processor.__call__).parameters if name not in ("self", "kwargs")]
    known = [*own, *Sam2ImageProcessorKwargs.__annotations__, *ImagesKwargs.__annotations__, *KINDS_OF_KWARGS]
    unknown = next((name for name in kwargs if name not in known), None)
    if unknown is None:
        return
    close = difflib.get_close_matches(unknown, known, n=1)
    hint = "SAM 2 takes no text" if unknown == "text" else f"did you mean {close[0]!r}?" if close else "leave it out"
    raise TypeError(f"Sam2Processor() takes no {unknown!r}; {hint}")


def _as_type(features: BatchFeature, return_tensors) -> BatchFeature:
    kind = str(getattr(return_tensors, "value", return_tensors))
    if kind == "np":
        return BatchFeature({name: value.cpu().numpy() for name, value in features.items()})
    if kind not in ("pt", "None"):
        raise ValueError(f"`return_tensors` must be 'pt', 'np' or None, got {return_tensors!r}")
    return features
