"""From a picture and its prompts to an `ImageResult` in three stages: `prepare`, `decode`, `to_result`.

Pictures are encoded in batches, objects decoded in blocks.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sam2_hf.errors import PromptError
from sam2_hf.modeling.model import Sam2Model
from sam2_hf.pipelines.records import class_numbers
from sam2_hf.pipelines.results import ImageResult
from sam2_hf.processing.masks import stability_scores
from sam2_hf.processing.pixels import size_of, to_pixels
from sam2_hf.processing.processor import Sam2Processor
from sam2_hf.processing.prompts import ObjectPrompt
from sam2_hf.processing.requests import NOTHING_GIVEN
from sam2_hf.processing.rle import Masks

OBJECT_BATCH = 64  # objects per decoder call, so that memory is bounded
OUTPUTS = ("pred_masks", "iou_scores", "object_score_logits")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedPicture:
    """A picture and its prompts, read, checked and turned into the model's inputs.

    Attributes:
        source: path or address, where it came from one.
        pixels: (3, height, width) in normal form.
        pixel_values: (1, 3, side, side), as the model takes them.
        requests: of its objects, in pixels of the picture.
        prompts: the model's inputs, apart for objects with and without a mask: which requests, and their tensors.
        milliseconds: spent on it so far, by stage.
    """

    source: str | None
    pixels: Tensor
    pixel_values: Tensor
    requests: Sequence[ObjectPrompt]
    prompts: Sequence[tuple[list[int], dict[str, Tensor]]]
    milliseconds: dict[str, float]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return size_of(self.pixels)


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureAnswer:
    """What the model says of one picture, on its device.

    Attributes:
        outputs: `pred_masks` (objects, candidates, height, width), `iou_scores` (objects, candidates) and
            `object_score_logits` (objects, 1).
        milliseconds: spent on it, by stage.
    """

    outputs: dict[str, Tensor]
    milliseconds: dict[str, float]


def prepare(
    processor: Sam2Processor,
    image,
    requests: Sequence[ObjectPrompt],
    *,
    normalized: bool = False,
    allow_no_prompt: bool = False,
) -> PreparedPicture:
    """The first stage: needs no model, and may run in another process.

    Raises:
        PromptError: no prompt, or one that cannot be meant.
        SourceError: a picture that cannot be read.
    """
    if not requests and not allow_no_prompt:
        raise PromptError(NOTHING_GIVEN)
    clock = _Clock()
    pixels = to_pixels(image)
    clock.lap("load")
    size = size_of(pixels)
    features = processor.image_processor([pixels], input_data_format="channels_first", return_tensors="pt")
    prompts = _apart_by_mask(processor, requests, size, normalized)
    clock.lap("preprocess")
    return PreparedPicture(
        source=str(image) if isinstance(image, (str, Path)) else None,
        pixels=pixels,
        pixel_values=features["pixel_values"],
        requests=[request.in_pixels(size) for request in requests] if normalized else list(requests),
        prompts=prompts,
        milliseconds=clock.milliseconds,
    )


def decode(
    model: Sam2Model,
    pixel_values: Tensor,
    pictures: Sequence[PreparedPicture],
    *,
    multimask: bool = False,
    object_batch: int = OBJECT_BATCH,
) -> list[PictureAnswer]:
    """The second stage: all pictures are encoded together, objects are decoded in blocks of `object_batch`.

    Args:
        pixel_values: (pictures, 3, side, side), those of the pictures one after the other.
    """
    device = model.execution_device
    with torch.inference_mode():
        clock = _Clock()
        embeddings = model.get_image_embeddings(pixel_values.to(device))
        clock.lap("encode")
        encode = round(clock.milliseconds["encode"] / len(pictures), 3)
        answers = []
        for index, picture in enumerate(pictures):
            own = _Clock()
            levels = [level[index : index + 1] for level in embeddings]
            outputs = _outputs(model, levels, picture.prompts, multimask, object_batch)
            own.lap("decode")
            answers.append(PictureAnswer(outputs=outputs, milliseconds={"encode": encode, **own.milliseconds}))
    return answers


def to_result(
    processor: Sam2Processor,
    picture: PreparedPicture,
    answer: PictureAnswer,
    max_hole_area: float = 0.0,
    max_sprinkle_area: float = 0.0,
    return_logits: bool = False,
) -> ImageResult:
    """The third stage: the best candidate of every object at the picture's size, and the others if there are some."""
    clock = _Clock()
    outputs = answer.outputs
    best_first = outputs["iou_scores"].argsort(dim=1, descending=True, stable=True)
    areas = (max_hole_area, max_sprinkle_area)
    dense, stability = _dense_masks(processor, outputs["pred_masks"], best_first, picture.size, areas)
    found = [Masks.from_dense(candidates, picture.size) for candidates in dense]
    best = Masks([candidates.rle[0] for candidates in found], picture.size)
    clock.lap("postprocess")
    requests = picture.requests or [ObjectPrompt(object_id=1)]
    labels = tuple(request.label for request in requests)
    logits = outputs["pred_masks"][torch.arange(len(best)), best_first[:, 0]]
    return ImageResult(
        source=picture.source,
        size=picture.size,
        masks=best,
        object_ids=tuple(request.object_id for request in requests),
        boxes=best.boxes(),
        class_ids=class_numbers(labels),
        labels=labels,
        iou_scores=outputs["iou_scores"].gather(1, best_first)[:, 0].float().cpu().numpy(),
        stability=stability,
        object_scores=outputs["object_score_logits"][:, 0].float().cpu().numpy(),
        prompts=tuple(request.kept for request in requests),
        alternatives=tuple(found) if best_first.shape[1] > 1 else (),
        timings={**picture.milliseconds, **answer.milliseconds, **clock.milliseconds},
        image=picture.pixels,
        logits=logits.float().cpu().clone() if return_logits else None,
    )


def _apart_by_mask(
    processor: Sam2Processor, requests: Sequence[ObjectPrompt], size: tuple[int, int], normalized: bool
) -> list[tuple[list[int], dict[str, Tensor]]]:
    """The model's inputs for the objects without a mask, and for those with one: it takes either kind in one call."""
    has_mask = [request.mask is not None or request.mask_logits is not None for request in requests]
    groups = ([row for row, found in enumerate(has_mask) if found == wanted] for wanted in (False, True))
    return [
        (rows, processor.prompt_inputs([requests[row] for row in rows], size, normalized)) for rows in groups if rows
    ]


def _outputs(
    model: Sam2Model,
    embeddings: list[Tensor],
    prompts: Sequence[tuple[list[int], dict[str, Tensor]]],
    multimask: bool,
    object_batch: int,
) -> dict[str, Tensor]:
    """Outputs for all objects of one picture, in the order of its requests: name -> (objects, ...)."""
    device = embeddings[0].device
    rows: list[int] = []
    parts = []
    for numbers, inputs in prompts or [([0], {})]:
        rows += numbers
        placed = {name: tensor.to(device) for name, tensor in inputs.items()}
        for block in _object_batches(placed, object_batch):
            parts.append(model(image_embeddings=embeddings, multimask_output=multimask, **block))
    order = torch.tensor(rows, device=device).argsort()
    return {name: torch.cat([part[name][0] for part in parts])[order] for name in OUTPUTS}


def _object_batches(inputs: dict[str, Tensor], object_batch: int):
    """The prompts in parts of at most `object_batch` objects; without prompts there is one object."""
    count = next(iter(inputs.values())).shape[1] if inputs else 1
    for start in range(0, count, object_batch):
        yield {name: tensor[:, start : start + object_batch] for name, tensor in inputs.items()}


def _dense_masks(
    processor: Sam2Processor, logits: Tensor, order: Tensor, size: tuple[int, int], areas: tuple[float, float]
) -> tuple[list[np.ndarray], np.ndarray]:
    """Object by object: masks (candidates, height, width) in the given order, and the stability of the first."""
    max_hole_area, max_sprinkle_area = areas
    dense, stability = [], []
    for one, candidates in zip(logits, order, strict=True):
        full = processor.post_process_masks(
            one[candidates][None, None],
            [size],
            binarize=False,
            max_hole_area=max_hole_area,
            max_sprinkle_area=max_sprinkle_area,
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
