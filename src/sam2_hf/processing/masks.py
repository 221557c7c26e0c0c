"""Logits of the decoder to masks at the picture's size: holes, sprinkles, overlaps, boxes, stability."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sam2_hf.processing.components import numbered_parts

CLEANED_MARGIN = 10.0  # logits beyond the threshold that filled holes and removed sprinkles get
FILLED_HOLE_LOGIT = 0.1  # of holes that video fills
OVERLAP_LOGIT = -10.0  # what a pixel of another object is pushed down to


def post_process_masks(
    masks,
    original_sizes,
    mask_threshold: float = 0.0,
    binarize: bool = True,
    max_hole_area: float = 0.0,
    max_sprinkle_area: float = 0.0,
    apply_non_overlapping_constraints: bool = False,
    reshaped_input_sizes=None,
) -> list[Tensor]:
    """Resizes low-resolution logits to each picture's own size.

    Args:
        masks: (batch, objects, masks, height, width) logits, or a list of (objects, masks, height, width).
        original_sizes: (height, width) per picture, from the processor.
        mask_threshold: a pixel is inside above it.
        binarize: bool masks; False: float32 logits.
        max_hole_area: holes of up to so many *low-resolution* pixels are filled (8-connected).
        max_sprinkle_area: specks of up to so many low-resolution pixels are removed.
        apply_non_overlapping_constraints: a pixel belongs to the object with the highest logit only.
        reshaped_input_sizes: taken for the library's sake; SAM 2 stretches to a square, so there is nothing to crop.

    Returns:
        Per picture (objects, masks, height, width).

    Raises:
        ValueError: another number of sizes than pictures, or masks without the four axes.
    """
    sizes = [tuple(int(side) for side in size) for size in original_sizes]
    if len(masks) != len(sizes):
        raise ValueError(
            f"{len(masks)} pictures in `masks`, but {len(sizes)} in `original_sizes`; give one size per picture"
        )
    results = []
    for logits, (height, width) in zip(masks, sizes, strict=True):
        logits, size = torch.as_tensor(logits), (height, width)
        if logits.dim() != 4:
            raise ValueError(
                f"the masks of a picture must be (objects, masks, height, width), got {tuple(logits.shape)}"
            )
        logits = clean_logits(logits.float(), mask_threshold, max_hole_area, max_sprinkle_area)
        if apply_non_overlapping_constraints:
            results.append(_binarize(suppress_overlaps(resize_logits(logits, size)), mask_threshold, binarize))
        else:  # object by object, so that float masks of all objects never exist at once
            parts = [_binarize(resize_logits(one, size), mask_threshold, binarize) for one in logits.split(1)]
            results.append(torch.cat(parts) if parts else logits.new_zeros((*logits.shape[:2], *size)))
    return results


def resize_logits(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """(objects, masks, h, w) to (objects, masks, *size): bilinear, not antialiased, float32."""
    if tuple(logits.shape[-2:]) == tuple(size):
        return logits.float()
    return F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)


def _binarize(logits: Tensor, threshold: float, binarize: bool) -> Tensor:
    return logits > threshold if binarize else logits


def clean_logits(logits: Tensor, threshold: float, max_hole_area: float, max_sprinkle_area: float) -> Tensor:
    """Fills small holes and removes small specks of (..., height, width); areas in pixels of the logits.

    Specks are found on the logits as they came and written after the holes.
    """
    if max_hole_area <= 0 and max_sprinkle_area <= 0:
        return logits
    inside = (logits > threshold).cpu().numpy().reshape(-1, *logits.shape[-2:])
    cleaned = logits.clone()
    for found, area, value in (
        (~inside, max_hole_area, threshold + CLEANED_MARGIN),
        (inside, max_sprinkle_area, threshold - CLEANED_MARGIN),
    ):
        if area > 0:
            small = np.stack([small_components(mask, area) for mask in found]).reshape(logits.shape)
            cleaned = cleaned.masked_fill(torch.from_numpy(small).to(logits.device), value)
    return cleaned


def fill_holes(logits: Tensor, max_area: float) -> Tensor:
    """Raises holes of up to `max_area` pixels in (..., height, width) just above 0, as video does."""
    outside = (logits <= 0).cpu().numpy().reshape(-1, *logits.shape[-2:])
    holes = np.stack([small_components(mask, max_area) for mask in outside]).reshape(logits.shape)
    return logits.masked_fill(torch.from_numpy(holes).to(logits.device), FILLED_HOLE_LOGIT)


def small_components(mask: np.ndarray, max_area: float) -> np.ndarray:
    """The part of a bool mask (height, width) in 8-connected components of at most `max_area` pixels."""
    components = numbered_parts(mask, corners_join=True)
    areas = np.bincount(components.ravel())
    areas[0] = areas.max(initial=0) + max_area + 1  # component 0 is everything outside the mask
    return (areas <= max_area)[components]


def suppress_overlaps(logits: Tensor) -> Tensor:
    """Keeps each pixel of (objects, masks, height, width) for the highest logit, the first object on ties."""
    if logits.shape[0] < 2:
        return logits
    winner = logits.argmax(dim=0, keepdim=True)
    mine = torch.arange(logits.shape[0], device=logits.device).view(-1, 1, 1, 1) == winner
    return torch.where(mine, logits, logits.clamp(max=OVERLAP_LOGIT))


def boxes_of(masks: Tensor) -> Tensor:
    """Boxes of bool masks (..., height, width) on pixel edges: (..., 4) int64 as (x0, y0, x1, y1); empty: zeros."""
    columns, rows = masks.any(dim=-2), masks.any(dim=-1)
    height, width = masks.shape[-2:]

    def span(line: Tensor, size: int) -> tuple[Tensor, Tensor]:
        first = line.int().argmax(dim=-1)
        last = size - line.flip(-1).int().argmax(dim=-1)
        return first, last

    (x0, x1), (y0, y1) = span(columns, width), span(rows, height)
    return torch.stack((x0, y0, x1, y1), dim=-1) * columns.any(dim=-1, keepdim=True)


def stability_scores(logits: Tensor, threshold: float = 0.0, offset: float = 1.0) -> Tensor:
    """Area above `threshold + offset` over that above `threshold - offset`, 0 if empty, of (..., height, width)."""
    inner = (logits > threshold + offset).flatten(-2).sum(dim=-1)
    outer = (logits > threshold - offset).flatten(-2).sum(dim=-1)
    return inner / outer.clamp(min=1)
