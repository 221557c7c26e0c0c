"""Greedy non-maximum suppression in plain torch: same result on every device, no compiled extension."""

import torch
from torch import Tensor

BLOCK = 1000  # boxes compared at once


def box_suppression(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Keeps a box unless a better one that was kept overlaps it by more than the threshold.

    Args:
        boxes: (n, 4) as (x0, y0, x1, y1); areas are (x1 - x0) * (y1 - y0).
        scores: (n,); equal scores keep their order.
        threshold: of box IoU, exceeded strictly.

    Returns:
        indices of the boxes that are kept, by falling score.
    """
    order = scores.argsort(descending=True, stable=True)
    sorted_boxes = boxes[order].float()
    kept_boxes = sorted_boxes[:0]
    kept: list[Tensor] = []
    for start in range(0, len(order), BLOCK):
        block = sorted_boxes[start : start + BLOCK]
        alive = ~(box_ious(block, kept_boxes) > threshold).any(dim=1)
        overlaps = (box_ious(block, block) > threshold).triu(diagonal=1).cpu()
        alive = _greedy(alive.cpu(), overlaps).to(boxes.device)
        kept_boxes = torch.cat((kept_boxes, block[alive]))
        kept.append(order[start : start + BLOCK][alive])
    return torch.cat(kept) if kept else order


def _greedy(alive: Tensor, overlaps: Tensor) -> Tensor:
    """Walks down a block: every box that is still alive removes those that it overlaps."""
    for index in range(len(alive)):
        if alive[index]:
            alive &= ~overlaps[index]
    return alive


def box_ious(first: Tensor, second: Tensor) -> Tensor:
    """IoU of every box with every other, (n, m); boxes without area give 0."""
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    overlap = (high - low).clamp(min=0).prod(dim=-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=-1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - overlap
    return torch.where(union > 0, overlap / union.clamp(min=1e-9), 0.0)
