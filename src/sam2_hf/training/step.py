"""One batch to one loss: the module that a trainer wraps, with everything that learns inside."""

from collections import defaultdict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2_hf.modeling.losses import LossWeights, ObjectLosses, object_losses, resize_to
from sam2_hf.modeling.model import Sam2Model
from sam2_hf.training.batches import ClipBatch
from sam2_hf.training.prompt_sampling import PromptPlan
from sam2_hf.training.rollout import Rollout, RolloutOptions, StepOutput

TERMS = ("focal", "dice", "iou", "object_score")


class TrainingStep(nn.Module):
    """Rolls a batch out and sums the losses of all its steps.

    Args:
        model: learns.
        rollout: how it is led through clips.
        weights: of the terms.
        reduction: "sum" over frames and steps, or "mean".
        loss_stride: losses are computed at the model's size divided by this.
        extra: a loss that a recipe brings along, learning with the model, see `own_loss`; None for none.
    """

    def __init__(
        self,
        model: Sam2Model,
        rollout: RolloutOptions,
        weights: LossWeights,
        reduction: str = "sum",
        loss_stride: int = 1,
        extra: nn.Module | None = None,
    ):
        super().__init__()
        self.model, self.extra = model, extra
        self.rollout = Rollout(model, rollout)
        self.weights, self.reduction, self.loss_stride = weights, reduction, loss_stride

    def forward(
        self, batch: ClipBatch, plan: PromptPlan, num_objects: float, progress: float | None = None
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss, and its parts for the log.

        Args:
            num_objects: what sums over objects are divided by, the mean over processes.
            progress: share of the steps that are done; None leaves the extra loss out.
        """
        steps, features = self.rollout.run(batch, plan)
        loss, parts = self.losses(steps, batch, num_objects)
        extra = None if self.extra is None or progress is None else self.extra(features, batch, progress)
        if extra is not None:
            parts["extra"] = extra.item()
            loss = loss + extra
        return loss, parts

    def losses(self, steps: list[StepOutput], batch: ClipBatch, num_objects: float) -> tuple[Tensor, dict[str, float]]:
        """Losses of the steps; those of masks that the user gave are constants and only logged, as `given`."""
        taught = [step for step in steps if step.kind != "mask"]
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=batch.masks.device))
        for step in steps:
            one = step_losses(step, batch, self.weights, self.loss_stride)
            if step.kind == "mask":
                sums["given"] = sums["given"] + one.total(self.weights).sum() / num_objects
                continue
            for term in TERMS:
                sums[term] = sums[term] + getattr(one, term).sum() / num_objects
        total = sum(getattr(self.weights, term) * sums[term] for term in TERMS)
        count = max(1, len(taught))
        parts = {name: value.item() for name, value in sums.items()}
        parts |= {"loss": total.item(), "loss_per_step": total.item() / count}
        return (total / count if self.reduction == "mean" else total), parts


def step_losses(step: StepOutput, batch: ClipBatch, weights: LossWeights, stride: int = 1) -> ObjectLosses:
    """Losses of one step per object, at the model's size divided by `stride`."""
    truth = _shrunk(batch.masks[:, step.frame], stride)
    return object_losses(
        resize_to(step.mask_logits, truth.shape[-2:]),
        step.iou_scores,
        step.object_score_logits,
        truth,
        weights,
        None if batch.is_valid is None else _shrunk(batch.is_valid[:, step.frame], stride),
    )


def _shrunk(masks: Tensor, stride: int) -> Tensor:
    """(rows, size, size) bool at size / stride: inside where at least half of a cell is."""
    return masks if stride == 1 else F.avg_pool2d(masks[:, None].float(), stride)[:, 0] >= 0.5
