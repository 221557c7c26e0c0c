"""Pictures and prompts in, `ImageResult` out. Pictures are encoded in batches, objects decoded in blocks."""

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sam2_hf.errors import PromptError
from sam2_hf.modeling.model import Sam2Model
from sam2_hf.pipelines.records import class_numbers
from sam2_hf.pipelines.results import ImageResult
from sam2_hf.pipelines.signatures import takes_fields_of
from sam2_hf.processing.masks import stability_scores
from sam2_hf.processing.pixels import to_pixels
from sam2_hf.processing.processor import Sam2Processor
from sam2_hf.processing.prompts import ObjectPrompt, as_tensor, mask_logits_of
from sam2_hf.processing.requests import NOTHING_GIVEN, requests_from
from sam2_hf.processing.rle import Masks

OBJECT_BATCH = 64  # objects per decoder call, so that memory is bounded
OUTPUTS = ("pred_masks", "iou_scores", "object_score_logits")


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentOptions:
    """How pictures are segmented.

    Attributes:
        normalized: points and boxes are fractions of width and height.
        multimask: ask for three candidates per object; the best one counts and all are in `alternatives`.
        max_hole_area, max_sprinkle_area: holes to fill and specks to remove, in low-resolution pixels.
        object_batch: objects per decoder call; no influence on results beyond rounding.
        return_logits: keep low-resolution logits in the result; they can be given back as `mask_logits`.
        allow_no_prompt: a picture without prompts is not an error: the model shows what it holds for the object.
    """

    normalized: bool = False
    multimask: bool = False
    max_hole_area: float = 0.0
    max_sprinkle_area: float = 0.0
    object_batch: int = OBJECT_BATCH
    return_logits: bool = False
    allow_no_prompt: bool = False

    def __post_init__(self):
        if self.object_batch < 1:
            raise ValueError(f"`object_batch` is {self.object_batch}, but it must be at least 1")


@takes_fields_of(SegmentOptions)
def segment(
    model: Sam2Model,
    processor: Sam2Processor,
    image,
    *,
    points=None,
    labels=None,
    boxes=None,
    masks=None,
    mask_logits=None,
    objects: Sequence[dict] | None = None,
    object_ids: Sequence[Hashable] | None = None,
    **options,
) -> ImageResult:
    """Segments the prompted objects of one picture.

    Args:
        image: anything that the processor reads.
        points, labels, boxes, masks, mask_logits, objects, object_ids: as for
            `sam2_hf.processing.requests.requests_from`, in pixels of the original.
        options: fields of `SegmentOptions`.

    Raises:
        PromptError: no prompt, or one that cannot be meant.
        SourceError: a picture that cannot be read.
    """
    given = {"points": points, "labels": labels, "boxes": boxes, "masks": masks, "mask_logits": mask_logits}
    requests = requests_from(objects=objects, object_ids=object_ids, **given)
    return segment_batch(model, processor, [image], [requests], **options)[0]


@takes_fields_of(SegmentOptions)
def segment_batch(
    model: Sam2Model,
    processor: Sam2Processor,
    images: Sequence,
    requests: Sequence[Sequence[ObjectPrompt]],
    **options,
) -> list[ImageResult]:
    """Segments several pictures of any sizes, encoded together.

    Args:
        images: anything that the processor reads.
        requests: of each picture.
        options: fields of `SegmentOptions`.

    Raises:
        PromptError: a picture without prompts, or a prompt that cannot be meant.
        SourceError: a picture that cannot be read.
    """
    settings = SegmentOptions(**options)
    clock = _Clock()
    pictures = []
    for image, asked in zip(images, requests, strict=True):
        if not asked and not settings.allow_no_prompt:
            raise PromptError(NOTHING_GIVEN)
        pictures.append(_Picture(image=image, pixels=to_pixels(image), requests=asked))
    clock.lap("load")
    inputs = processor.image_processor(
        [picture.pixels for picture in pictures], input_data_format="channels_first", return_tensors="pt"
    )
    prompts = [_prompt_groups(processor, picture, settings.normalized, model.execution_device) for picture in pictures]
    clock.lap("preprocess")
    with torch.inference_mode():
        embeddings = model.get_image_embeddings(inputs["pixel_values"].to(model.execution_device))
    clock.lap("encode")
    shared = {stage: spent / len(pictures) for stage, spent in clock.milliseconds.items()}
    results = []
    for index, (picture, groups) in enumerate(zip(pictures, prompts, strict=True)):
        own = _Clock()
        with torch.inference_mode():
            answers = _decode(model, [level[index : index + 1] for level in embeddings], groups, settings)
        own.lap("decode")
        results.append(_result(processor, picture, answers, settings, own, shared))
    return results


@dataclass(frozen=True, slots=True, kw_only=True)
class _Picture:
    """A picture of a batch.

    Attributes:
        image: as it came.
        pixels: (3, height, width) in normal form.
        requests: of its objects.
    """

    image: object
    pixels: Tensor
    requests: Sequence[ObjectPrompt]

    @property
    def size(self) -> tuple[int, int]:
        return tuple(self.pixels.shape[-2:])


def _prompt_groups(
    processor: Sam2Processor, picture: _Picture, normalized: bool, device: torch.device
) -> list[tuple[list[int], dict[str, Tensor]]]:
    """Prompts as the model takes them, apart for objects with and without a mask: their numbers, and the inputs."""
    has_mask = [request.mask is not None or request.mask_logits is not None for request in picture.requests]
    groups = []
    for wanted in (False, True):
        rows = [row for row, found in enumerate(has_mask) if found == wanted]
        if rows:
            asked = [picture.requests[row] for row in rows]
            inputs = processor(original_sizes=[picture.size], **_written(processor, asked), normalized=normalized)
            inputs.pop("original_sizes")
            groups.append((rows, {name: tensor.to(device) for name, tensor in inputs.items()}))
    return groups


def _written(processor: Sam2Processor, requests: Sequence[ObjectPrompt]) -> dict:
    """Requests as arguments of the processor."""
    arguments: dict = {}
    if any(request.points for request in requests):
        arguments["input_points"] = [[request.points for request in requests]]
        arguments["input_labels"] = [[request.labels for request in requests]]
    if any(request.box for request in requests):
        arguments["input_boxes"] = [[request.box for request in requests]]
    if requests[0].mask is not None or requests[0].mask_logits is not None:
        side = processor.image_processor.size["height"] // 4
        logits = [
            as_tensor(request.mask_logits).float().reshape(1, *np.shape(request.mask_logits)[-2:])
            if request.mask is None
            else mask_logits_of(request.mask, (side, side))
            for request in requests
        ]
        arguments["input_masks"] = torch.stack(logits, dim=1)
    return arguments


def _decode(
    model: Sam2Model,
    embeddings: list[Tensor],
    groups: list[tuple[list[int], dict[str, Tensor]]],
    settings: SegmentOptions,
) -> dict[str, Tensor]:
    """Outputs for all objects of one picture, in the order of its requests: name -> (objects, ...)."""
    rows: list[int] = []
    parts = []
    for numbers, prompts in groups or [([0], {})]:
        rows += numbers
        for block in _object_batches(prompts, settings.object_batch):
            parts.append(model(image_embeddings=embeddings, multimask_output=settings.multimask, **block))
    order = torch.tensor(rows, device=embeddings[0].device).argsort()
    return {name: torch.cat([part[name][0] for part in parts])[order] for name in OUTPUTS}


def _object_batches(inputs: dict[str, Tensor], object_batch: int):
    """The prompts in parts of at most `object_batch` objects; without prompts there is one object."""
    count = next(iter(inputs.values())).shape[1] if inputs else 1
    for start in range(0, count, object_batch):
        yield {name: tensor[:, start : start + object_batch] for name, tensor in inputs.items()}


def _result(
    processor: Sam2Processor,
    picture: _Picture,
    answers: dict[str, Tensor],
    settings: SegmentOptions,
    clock: "_Clock",
    shared: dict[str, float],
) -> ImageResult:
    """The best candidate of every object at the picture's size, and the others if they were asked for."""
    best_first = answers["iou_scores"].argsort(dim=1, descending=True, stable=True)
    dense, stability = _dense_masks(processor, answers["pred_masks"], best_first, picture.size, settings)
    found = [Masks.from_dense(candidates, picture.size) for candidates in dense]
    best = Masks([candidates.rle[0] for candidates in found], picture.size)
    clock.lap("postprocess")
    requests = picture.requests or [ObjectPrompt(object_id=1)]
    shown = [request.in_pixels(picture.size) if settings.normalized else request for request in requests]
    labels = tuple(request.label for request in requests)
    logits = answers["pred_masks"][torch.arange(len(best)), best_first[:, 0]]
    return ImageResult(
        source=str(picture.image) if isinstance(picture.image, (str, Path)) else None,
        size=picture.size,
        masks=best,
        object_ids=tuple(request.object_id for request in requests),
        boxes=best.boxes(),
        class_ids=class_numbers(labels),
        labels=labels,
        iou_scores=answers["iou_scores"].gather(1, best_first)[:, 0].float().cpu().numpy(),
        stability=stability,
        object_scores=answers["object_score_logits"][:, 0].float().cpu().numpy(),
        prompts=tuple(request.kept for request in shown),
        alternatives=tuple(found) if settings.multimask else (),
        timings={**{stage: round(spent, 3) for stage, spent in shared.items()}, **clock.milliseconds},
        image=picture.pixels,
        logits=logits.float().cpu().clone() if settings.return_logits else None,
    )


def _dense_masks(
    processor: Sam2Processor, logits: Tensor, order: Tensor, size: tuple[int, int], settings: SegmentOptions
) -> tuple[list[np.ndarray], np.ndarray]:
    """Object by object: masks (candidates, height, width) in the given order, and the stability of the first."""
    dense, stability = [], []
    for one, candidates in zip(logits, order, strict=True):
        full = processor.post_process_masks(
            one[candidates][None, None],
            [size],
            binarize=False,
            max_hole_area=settings.max_hole_area,
            max_sprinkle_area=settings.max_sprinkle_area,
        )[0][0]
        dense.append((full > 0).cpu().numpy())
        stability.append(float(stability_scores(full[0])))
    return dense, np.array(stability, dtype=np.float32)


class _Clock:
    """Milliseconds between laps."""

    def __init__(self):
        self.milliseconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.milliseconds[stage] = round(1000 * (now - self._last), 3)
        self._last = now
