"""Why nothing was found: how many candidates fell to which threshold, and which values would keep some."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sam2_hf.pipelines.generator_options import GeneratorOptions

WANTED_SHARE, LEAST_WANTED = 0.03, 3  # of the candidates that the proposed thresholds would keep
STABILITY_MARGIN = 0.05  # at the picture's size a mask is a little less stable than at low resolution
DIGITS = 100  # proposed thresholds are rounded down to hundredths


class NothingFoundWarning(UserWarning):
    """Everything in a picture was asked for, and the thresholds kept nothing."""


@dataclass(slots=True)
class CandidateCounts:
    """What became of the candidates of one picture.

    Attributes:
        options: that decided.
        by_iou, by_stability, by_crop: how many fell to `pred_iou_thresh`, to `stability_score_thresh`, and because a
            crop cut them off.
        iou, stability: of all candidates, batch by batch; stability at low resolution, an estimate.
    """

    options: GeneratorOptions
    by_iou: int = 0
    by_stability: int = 0
    by_crop: int = 0
    iou: list[Tensor] = field(default_factory=list)
    stability: list[Tensor] = field(default_factory=list)

    def seen(self, iou: Tensor, stability: Tensor) -> None:
        """Notes candidates, both (n,), before anything is dropped."""
        self.iou.append(iou.float().cpu())
        self.stability.append(stability.float().cpu())

    def why_empty(self) -> str | None:
        """A sentence for people; None where nothing fell to a threshold."""
        iou, stability = (torch.cat(parts) if parts else torch.zeros(0) for parts in (self.iou, self.stability))
        if not len(iou):
            return None
        fell = []
        if self.by_iou:
            best = f"the best has {iou.max():.2f}"
            fell.append(f"{self.by_iou} fell to pred_iou_thresh={self.options.pred_iou_thresh:g} ({best})")
        if self.by_stability:
            fell.append(f"{self.by_stability} fell to stability_score_thresh={self.options.stability_score_thresh:g}")
        if self.by_crop:
            fell.append(f"{self.by_crop} were cut off by a crop")
        if not fell:
            return None
        return f"of {len(iou)} candidates {', '.join(fell)}; {self._proposal(iou, stability)}"

    def _proposal(self, iou: Tensor, stability: Tensor) -> str:
        """Thresholds that the best few candidates pass, those that are good at both."""
        count = min(len(iou), max(LEAST_WANTED, round(WANTED_SHARE * len(iou))))
        best = (iou * stability).topk(count).indices
        least_iou = min(self.options.pred_iou_thresh, _floor(float(iou[best].min())))
        least_stability = min(
            self.options.stability_score_thresh, _floor(float(stability[best].min()) - STABILITY_MARGIN)
        )
        kept = int(((iou > least_iou) & (stability >= least_stability)).sum())
        values = f"pred_iou_thresh={least_iou:g} and stability_score_thresh={least_stability:g}"
        return f"{values} would keep about {kept}, before those that were found twice go"


def _floor(value: float) -> float:
    """Rounded down, and below the value, which must be above the threshold."""
    return max(0.0, (math.ceil(value * DIGITS) - 1) / DIGITS)
