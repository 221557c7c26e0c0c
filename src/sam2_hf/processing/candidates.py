"""Which masks of a grid are worth keeping, and the same masks without specks and holes."""

import numpy as np
import torch
from torch import Tensor

from sam2_hf.processing.components import numbered_parts
from sam2_hf.processing.masks import boxes_of, stability_scores

CROP_EDGE_MARGIN = 20.0  # pixels; a mask that ends so close to a crop's side was cut off by it


def inclusive_boxes(masks: Tensor) -> Tensor:
    """(x0, y0, x1, y1) of bool masks (..., height, width) with inclusive maxima, as the original has them."""
    boxes = boxes_of(masks)
    is_there = masks.flatten(-2).any(dim=-1, keepdim=True)
    return boxes - torch.tensor([0, 0, 1, 1], device=boxes.device) * is_there


def ends_at_crop(
    boxes: Tensor, crop_box: tuple[int, int, int, int], size: tuple[int, int], margin: float = CROP_EDGE_MARGIN
) -> Tensor:
    """Masks that a crop has cut off: some side lies near the crop's and not near the picture's.

    Args:
        boxes: (n, 4) in pixels of the picture.
        crop_box: of the crop.
        size: (height, width) of the picture.
        margin: what "near" means, in pixels, inclusive.
    """
    height, width = size
    crop = torch.tensor(crop_box, dtype=torch.float32, device=boxes.device)
    picture = torch.tensor([0, 0, width, height], dtype=torch.float32, device=boxes.device)
    near_crop = (boxes.float() - crop).abs() <= margin
    near_picture = (boxes.float() - picture).abs() <= margin
    return (near_crop & ~near_picture).any(dim=1)


def is_stable(logits: Tensor, limit: float, threshold: float, offset: float) -> tuple[Tensor, Tensor]:
    """Stability of logits (n, height, width), and whether it reaches the limit; a limit of 0 keeps everything."""
    stability = stability_scores(logits, threshold, offset)
    return stability, stability >= limit if limit > 0 else torch.ones_like(stability, dtype=torch.bool)


def clean_mask(mask: np.ndarray, min_area: float) -> np.ndarray:
    """Removes parts of fewer than `min_area` pixels, and fills holes of fewer, of a bool mask (height, width).

    If all parts are small the largest stays.
    """
    holes = _small(~mask, min_area)
    filled = mask | holes
    specks = _small(filled, min_area)
    if filled.any() and not (filled & ~specks).any():
        parts = numbered_parts(filled, corners_join=True)
        return parts == 1 + np.bincount(parts.ravel())[1:].argmax()
    return filled & ~specks


def _small(mask: np.ndarray, limit: float) -> np.ndarray:
    parts = numbered_parts(mask, corners_join=True)
    areas = np.bincount(parts.ravel())
    areas[0] = mask.size + 1
    return (areas < limit)[parts]
