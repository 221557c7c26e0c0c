"""Losses of masks, of their estimated IoU and of object scores (Ravi et al. 2024, arXiv 2408.00714, training details).

Everything is per object, `(rows,)`, so that the caller can sum, count and normalise over batches and processes.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

FOCAL_ALPHA = 0.25  # weight of foreground pixels
FOCAL_GAMMA = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """What each term counts in the total."""

    focal: float = 20.0
    dice: float = 1.0
    iou: float = 1.0
    object_score: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectLosses:
    """Terms of the loss per object, each (rows,), not weighted."""

    focal: Tensor
    dice: Tensor
    iou: Tensor
    object_score: Tensor

    def total(self, weights: LossWeights) -> Tensor:
        """The weighted sum, (rows,)."""
        return (
            weights.focal * self.focal
            + weights.dice * self.dice
            + weights.iou * self.iou
            + weights.object_score * self.object_score
        )


def object_losses(
    mask_logits: Tensor,
    iou_scores: Tensor,
    object_score_logits: Tensor,
    truth: Tensor,
    weights: LossWeights,
    is_valid: Tensor | None = None,
) -> ObjectLosses:
    """Losses of one prediction.

    Of several candidates only the one with the smallest weighted focal and dice loss learns its mask; all learn their
    IoU. An object that is not in the picture has no mask to learn, only that it is not there.

    Args:
        mask_logits: (rows, masks, height, width).
        iou_scores: (rows, masks), the estimates in [0, 1].
        object_score_logits: (rows, 1).
        truth: (rows, height, width) bool.
        weights: used here for the choice of the candidate.
        is_valid: (rows, height, width) bool; pixels to ignore are False. None: all count.
    """
    is_visible = truth.flatten(1).any(dim=1).float()
    logits, target = mask_logits.float().flatten(2), truth.float().flatten(1).unsqueeze(1)
    valid = None if is_valid is None else is_valid.float().flatten(1).unsqueeze(1)
    best = _best_candidate(logits.detach(), target, valid, weights)
    chosen = logits[torch.arange(logits.shape[0], device=logits.device), best].unsqueeze(1)  # (rows, 1, pixels)
    error = (iou_scores.float() - actual_iou(logits.detach(), target, valid)).abs().mean(dim=1)
    scores = object_score_logits.float()[:, 0]
    return ObjectLosses(
        focal=focal_loss(chosen, target, valid)[:, 0] * is_visible,
        dice=dice_loss(chosen, target, valid)[:, 0] * is_visible,
        iou=error * is_visible,
        object_score=F.binary_cross_entropy_with_logits(scores, is_visible, reduction="none"),
    )


def _best_candidate(logits: Tensor, target: Tensor, valid: Tensor | None, weights: LossWeights) -> Tensor:
    """Which mask has the smallest loss, (rows,); found without gradients, which the others do not need."""
    if logits.shape[1] == 1:
        return torch.zeros(logits.shape[0], dtype=torch.long, device=logits.device)
    focal, dice = focal_loss(logits, target, valid), dice_loss(logits, target, valid)
    return (weights.focal * focal + weights.dice * dice).argmin(dim=1)


def focal_loss(logits: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean over pixels of the focal loss (Lin et al. 2017); logits (..., pixels), target of 0 and 1."""
    against = logits * (1 - 2 * target)  # how strongly each pixel says the opposite of the truth
    alpha = FOCAL_ALPHA * target + (1 - FOCAL_ALPHA) * (1 - target)
    per_pixel = alpha * against.sigmoid() ** FOCAL_GAMMA * F.softplus(against)  # (1 - p_t)^gamma * -log(p_t)
    if valid is None:
        return per_pixel.mean(dim=-1)
    return (per_pixel * valid).sum(dim=-1) / valid.sum(dim=-1).clamp(min=1)


def dice_loss(logits: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """One minus the smoothed Dice coefficient of the probabilities; logits (..., pixels)."""
    probability = logits.sigmoid()
    if valid is not None:
        probability, target = probability * valid, target * valid
    overlap = (probability * target).sum(dim=-1)
    return 1 - (2 * overlap + 1) / (probability.sum(dim=-1) + target.sum(dim=-1) + 1)


def actual_iou(logits: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """IoU of the masks that the logits draw; the union counts at least one pixel."""
    inside, target = logits > 0, target > 0
    if valid is not None:
        inside, target = inside & (valid > 0), target & (valid > 0)
    overlap = (inside & target).sum(dim=-1)
    return overlap / (inside | target).sum(dim=-1).clamp(min=1)


def resize_to(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits (rows, masks, height, width) at the size of the truth, as the losses want them."""
    if tuple(mask_logits.shape[-2:]) == tuple(size):
        return mask_logits.float()
    return F.interpolate(mask_logits.float(), size=tuple(size), mode="bilinear", align_corners=False)


def label_loss(
    mask_logits: Tensor, iou_scores: Tensor, object_score_logits: Tensor, labels: Tensor, weights: LossWeights
) -> Tensor:
    """The loss of a batch of pictures from labels, a scalar: the mean over objects.

    Args:
        mask_logits: (rows, masks, height, width); resized to the labels.
        iou_scores, object_score_logits: (rows, masks) and (rows, 1).
        labels: (rows, height, width) of 0 and 1; negative pixels are ignored, and so are objects that have no others.
    """
    is_valid = labels >= 0
    truth = labels > 0
    losses = object_losses(
        resize_to(mask_logits, labels.shape[-2:]),
        iou_scores,
        object_score_logits,
        truth,
        weights,
        None if bool(is_valid.all()) else is_valid,
    )
    counts = is_valid.flatten(1).any(dim=1)
    total = torch.where(counts, losses.total(weights), 0.0)
    return total.sum() / counts.sum().clamp(min=1)
