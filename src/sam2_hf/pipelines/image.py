"""One picture and prompts in, one `ImageResult` out."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sam2_hf.errors import PromptError
from sam2_hf.modeling.model import Sam2Model
from sam2_hf.pipelines.results import ImageResult
from sam2_hf.processing.masks import stability_scores
from sam2_hf.processing.pixels import to_pixels
from sam2_hf.processing.processor import Sam2Processor
from sam2_hf.processing.prompts import ObjectPrompt, read_prompts
from sam2_hf.processing.rle import Masks

OBJECT_BATCH = 64  # objects per decoder call, so that memory is bounded


@torch.inference_mode()
def segment(
    model: Sam2Model,
    processor: Sam2Processor,
    image,
    *,
    points=None,
    labels=None,
    boxes=None,
    masks=None,
    object_ids: Sequence[int] | None = None,
    normalized: bool = False,
    multimask: bool = False,
    max_hole_area: float = 0.0,
    max_sprinkle_area: float = 0.0,
    object_batch: int = OBJECT_BATCH,
) -> ImageResult:
    """Segments the prompted objects of one picture.

    Args:
        image: anything that the processor reads.
        points, labels, boxes: as for the processor, for one picture, in pixels of the original.
        masks: binary masks (objects, height, width) as prompts.
        object_ids: names of the objects; 1, 2, ... if not given.
        normalized: points and boxes are fractions of width and height.
        multimask: ask for three candidates per object; the best one counts and all are in `alternatives`.
        max_hole_area, max_sprinkle_area: in low-resolution pixels.
        object_batch: objects per decoder call; no influence on results beyond rounding.

    Raises:
        PromptError: no prompt, or one that cannot be meant.
        SourceError: a picture that cannot be read.
    """
    if points is None and boxes is None and masks is None:
        raise PromptError('no prompt given; pass points=, boxes=, masks= or use task "mask-generation"')
    clock = _Clock()
    pixels = to_pixels(image)
    clock.lap("load")
    inputs = processor(
        images=pixels,
        input_data_format="channels_first",
        input_points=points,
        input_labels=labels,
        input_boxes=boxes,
        masks=masks,
        normalized=normalized,
        return_tensors="pt",
    ).to(model.device)
    size = tuple(inputs.pop("original_sizes")[0].tolist())
    clock.lap("preprocess")
    embeddings = model.get_image_embeddings(inputs.pop("pixel_values"))
    clock.lap("encode")
    answers = _decode(model, embeddings, inputs, multimask, object_batch)
    clock.lap("decode")
    best_first = answers["iou_scores"].argsort(dim=1, descending=True, stable=True)
    dense, stability = _dense_masks(
        processor, answers["pred_masks"], best_first, size, max_hole_area, max_sprinkle_area
    )
    found = [Masks.from_dense(candidates, size) for candidates in dense]
    best = Masks([candidates.rle[0] for candidates in found], size)
    clock.lap("postprocess")
    return ImageResult(
        source=str(image) if isinstance(image, (str, Path)) else None,
        size=size,
        masks=best,
        object_ids=tuple(object_ids) if object_ids is not None else tuple(range(1, len(best) + 1)),
        boxes=best.boxes(),
        iou_scores=answers["iou_scores"].gather(1, best_first)[:, 0].float().cpu().numpy(),
        stability=stability,
        object_scores=answers["object_score_logits"][:, 0].float().cpu().numpy(),
        prompts=_prompts(points, labels, boxes, len(best), size if normalized else None),
        alternatives=tuple(found) if multimask else (),
        timings=clock.milliseconds,
        image=pixels,
    )


def _decode(
    model: Sam2Model, embeddings: list[Tensor], prompts: dict[str, Tensor], multimask: bool, object_batch: int
) -> dict[str, Tensor]:
    """Outputs for all objects of one picture, decoded in blocks: name -> (objects, ...)."""
    outputs = [
        model(image_embeddings=embeddings, multimask_output=multimask, **part)
        for part in _object_batches(prompts, object_batch)
    ]
    names = ("pred_masks", "iou_scores", "object_score_logits")
    return {name: torch.cat([output[name][0] for output in outputs]) for name in names}


class _Clock:
    """Milliseconds between laps."""

    def __init__(self):
        self.milliseconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.milliseconds[stage] = round(1000 * (now - self._last), 3)
        self._last = now


def _object_batches(inputs: dict[str, Tensor], object_batch: int):
    """The prompts in parts of at most `object_batch` objects."""
    count = next(iter(inputs.values())).shape[1]
    for start in range(0, count, object_batch):
        yield {name: tensor[:, start : start + object_batch] for name, tensor in inputs.items()}


def _dense_masks(
    processor: Sam2Processor,
    logits: Tensor,
    order: Tensor,
    size: tuple[int, int],
    hole_area: float,
    sprinkle_area: float,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Object by object: masks (candidates, height, width) in the given order, and the stability of the first."""
    dense, stability = [], []
    for one, candidates in zip(logits, order, strict=True):
        full = processor.post_process_masks(
            one[candidates][None, None],
            [size],
            binarize=False,
            max_hole_area=hole_area,
            max_sprinkle_area=sprinkle_area,
        )[0][0]
        dense.append((full > 0).cpu().numpy())
        stability.append(float(stability_scores(full[0])))
    return dense, np.array(stability, dtype=np.float32)


def _prompts(
    points, labels, boxes, count: int, fractions_of: tuple[int, int] | None
) -> tuple[ObjectPrompt | None, ...]:
    """What was asked for each object, in pixels of the original."""
    prompts = read_prompts(1, points, labels, boxes)[0] or [None] * count
    if fractions_of is None:
        return tuple(prompts)
    height, width = fractions_of
    return tuple(
        None
        if prompt is None
        else ObjectPrompt(
            points=[[x * width, y * height] for x, y in prompt.points],
            labels=prompt.labels,
            box=[side * (height if i % 2 else width) for i, side in enumerate(prompt.box)],
        )
        for prompt in prompts
    )
