"""From the tensors of a batch to groups of objects with equally many points.

A batch of pictures with different prompts arrives padded with `PointLabel.PAD`. Padding never reaches the network:
objects are grouped by how many points they really have, and equal lengths stack exactly, without a mask. So an object
in a padded batch gets what it gets alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sam2_hf.modeling.object_head import NO_OBJECT_LOGIT
from sam2_hf.modeling.outputs import MaskPrediction, PointLabel, PromptBatch
from sam2_hf.shapes import check_shape

MASK_PROMPT_CLAMP = 32.0  # mask prompts are clamped to this on the way in, as the original does on the way out


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRows:
    """All prompts of a batch, one row per object, still padded; fields as in `PromptBatch`."""

    batch: int
    objects: int
    points: Tensor | None = None
    labels: Tensor | None = None
    mask_logits: Tensor | None = None

    @property
    def rows(self) -> int:
        return self.batch * self.objects

    def groups(self) -> Iterator[tuple[Tensor | None, PromptBatch]]:
        """Row numbers and prompts of each group; None for all rows.

        Groups of a padded batch hold objects of one picture, so that its maps are shared and never copied. Rows without
        any prompt are in no group. A graph that is being exported has one group: it takes no padding.
        """
        if self.points is None or torch.compiler.is_exporting() or not bool((self.labels == PointLabel.PAD).any()):
            yield None, PromptBatch(points=self.points, labels=self.labels, mask_logits=self.mask_logits)
            return
        is_real = self.labels != PointLabel.PAD
        real_first = is_real.int().argsort(dim=1, descending=True, stable=True)
        labels = self.labels.gather(1, real_first)
        points = self.points.gather(1, real_first.unsqueeze(-1).expand(-1, -1, 2))
        counts = is_real.sum(dim=1)
        picture = torch.arange(self.rows, device=counts.device) // self.objects
        for index, count in torch.stack((picture, counts), dim=1).unique(dim=0).tolist():
            if count == 0 and self.mask_logits is None:
                continue
            rows = ((picture == index) & (counts == count)).nonzero().squeeze(1)
            yield (
                rows,
                PromptBatch(
                    points=points[rows, :count] if count else None,
                    labels=labels[rows, :count] if count else None,
                    mask_logits=None if self.mask_logits is None else self.mask_logits[rows],
                ),
            )


def prompt_rows(
    batch: int,
    *,
    input_points: Tensor | None = None,
    input_labels: Tensor | None = None,
    input_boxes: Tensor | None = None,
    input_masks: Tensor | None = None,
    mask_size: int,
) -> PromptRows:
    """Checks the prompts of `batch` pictures and puts them into one row per object, box corners before points.

    Args:
        batch: number of pictures.
        input_points: (batch, objects, points, 2) as (x, y) in model pixels.
        input_labels: (batch, objects, points) of `PointLabel`; all foreground if not given.
        input_boxes: (batch, objects, 4) as (x0, y0, x1, y1) in model pixels; four times PAD for an object without box.
        input_masks: (batch, objects or 1, height, width) logits, or with an axis of 1 before the last two.
        mask_size: the height and width that masks must have.

    Raises:
        ValueError: shapes or values that cannot be meant. A graph that is being exported checks shapes only.
    """
    points, labels = _points(input_points, input_labels)
    if input_boxes is not None:
        points, labels = _with_boxes(input_boxes, points, labels)
    objects = 1 if points is None else points.shape[1]
    masks = None if input_masks is None else _masks(input_masks, mask_size)
    if masks is not None:
        objects = masks.shape[1] if points is None else objects
        masks = _match_objects(masks, objects)
    for name, tensor in (("input_points and input_boxes", points), ("input_masks", masks)):
        if tensor is not None and tensor.shape[0] != batch:
            raise ValueError(
                f"{name} are for {tensor.shape[0]} pictures, but there are {batch}; give one entry per picture"
            )
    return PromptRows(
        batch=batch,
        objects=objects,
        points=None if points is None else points.flatten(0, 1),
        labels=None if labels is None else labels.flatten(0, 1),
        mask_logits=None if masks is None else masks.flatten(0, 1).unsqueeze(1).float(),
    )


def _points(points: Tensor | None, labels: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    if points is None:
        if labels is not None:
            raise ValueError("`input_labels` without `input_points`; pass the points that the labels are for")
        return None, None
    check_shape("input_points", points, "batch objects points 2")
    if labels is None:
        labels = torch.full(points.shape[:3], PointLabel.FOREGROUND, device=points.device)
    check_shape("input_labels", labels, "batch objects points")
    if labels.shape != points.shape[:3]:
        raise ValueError(
            f"`input_labels` has shape {tuple(labels.shape)}, but `input_points` needs {tuple(points.shape[:3])}"
        )
    _check_labels(labels)
    _check_finite("input_points", points)
    return points.float(), labels.long()


def _check_labels(labels: Tensor) -> None:
    if torch.compiler.is_exporting():
        return
    known = torch.isin(labels, torch.tensor([int(label) for label in PointLabel], device=labels.device))
    if not bool(known.all()):
        wrong = labels[~known].flatten()[0].item()
        raise ValueError(
            f"`input_labels` holds {wrong:g}; labels are 1 inside, 0 outside, {int(PointLabel.PAD)} padding"
        )


def _check_finite(name: str, tensor: Tensor) -> None:
    if not torch.compiler.is_exporting() and not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"`{name}` has NaN or infinite coordinates")


def _with_boxes(boxes: Tensor, points: Tensor | None, labels: Tensor | None) -> tuple[Tensor, Tensor]:
    check_shape("input_boxes", boxes, "batch objects 4")
    _check_finite("input_boxes", boxes)
    corners = boxes.float().unflatten(-1, (2, 2))  # (batch, objects, 2, 2)
    kinds = torch.tensor([PointLabel.BOX_TOP_LEFT, PointLabel.BOX_BOTTOM_RIGHT], device=boxes.device)
    missing = (boxes == PointLabel.PAD).all(dim=-1, keepdim=True)  # (batch, objects, 1)
    corner_labels = kinds.expand(*boxes.shape[:2], -1).masked_fill(missing, PointLabel.PAD)
    if points is None:
        return corners, corner_labels
    if points.shape[:2] != boxes.shape[:2]:
        found = (
            f"`input_points` has (batch, objects) {tuple(points.shape[:2])} but `input_boxes` {tuple(boxes.shape[:2])}"
        )
        raise ValueError(f"{found}; give one entry per object in both")
    return torch.cat((corners, points), dim=2), torch.cat((corner_labels, labels), dim=2)


def _masks(masks: Tensor, mask_size: int) -> Tensor:
    """(batch, objects, height, width), clamped."""
    if masks.dim() == 5:
        check_shape("input_masks", masks, f"batch objects 1 {mask_size} {mask_size}")
        masks = masks.squeeze(2)
    check_shape("input_masks", masks, f"batch objects {mask_size} {mask_size}")
    if not torch.compiler.is_exporting() and bool(((masks == 0) | (masks == 1)).all()):
        raise ValueError(
            "`input_masks` holds only 0 and 1, which as logits means undecided everywhere; "
            "pass the logits of an earlier `pred_masks`, or give a binary mask to the processor as `masks`"
        )
    return masks.clamp(-MASK_PROMPT_CLAMP, MASK_PROMPT_CLAMP)


def _match_objects(masks: Tensor, objects: int) -> Tensor:
    if masks.shape[1] not in (1, objects):
        raise ValueError(
            f"`input_masks` has {masks.shape[1]} objects, the other prompts have {objects}; give one per object"
        )
    return masks.expand(-1, objects, -1, -1)


def in_order(rows: int, parts: list[tuple[Tensor, MaskPrediction]]) -> MaskPrediction:
    """One prediction from groups of rows. Rows in no group are objects without a prompt: absent."""
    if not parts:
        raise ValueError("every object is padding; give at least one point, box or mask")

    def gather(field: str, missing: float) -> Tensor:
        first = getattr(parts[0][1], field)
        gathered = first.new_full((rows, *first.shape[1:]), missing)
        for index, part in parts:
            gathered = gathered.index_copy(0, index, getattr(part, field))
        return gathered

    return MaskPrediction(
        mask_logits=gather("mask_logits", NO_OBJECT_LOGIT),
        iou_scores=gather("iou_scores", 0.0),
        object_score_logits=gather("object_score_logits", NO_OBJECT_LOGIT),
        mask_tokens=gather("mask_tokens", 0.0),
    )
