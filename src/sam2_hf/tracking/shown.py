"""Results of one frame as they are shown: all objects together, at the video's own size."""

from collections.abc import Hashable, Mapping, Sequence

import torch

from sam2_hf.modeling.model import Sam2Model
from sam2_hf.processing.masks import resize_logits, suppress_overlaps
from sam2_hf.tracking.records import FrameMasks, FrameResult
from sam2_hf.tracking.tracker import absent


def frame_masks(
    frame: int,
    results: Mapping[Hashable, FrameResult | None],
    is_prompted: Sequence[bool],
    model: Sam2Model,
    size: tuple[int, int],
    non_overlap: bool,
) -> FrameMasks:
    """Masks of all objects on one frame.

    Args:
        results: by object id; None: nothing is known of the object on this frame.
        is_prompted: per object, whether the user said something of it here.
        size: (height, width) of the video.
        non_overlap: a pixel belongs to the object with the highest logit only.
    """
    device, low_res = model.execution_device, model.config.low_res_mask_size
    missing = absent(low_res, device)
    rows = [missing if result is None else result for result in results.values()]
    if not rows:
        empty = torch.zeros(0, device=device)
        return FrameMasks(
            frame_index=frame,
            object_ids=(),
            mask_logits=torch.zeros(0, *size, device=device),
            iou_scores=empty,
            object_score_logits=empty,
            is_prompted=empty.bool(),
        )
    found = (missing.mask_logits if row.mask_logits is None else row.mask_logits for row in rows)
    logits = [one.to(device) for one in found if one is not None]
    full = resize_logits(torch.stack(logits).unsqueeze(1), size)
    if non_overlap:
        full = suppress_overlaps(full)
    return FrameMasks(
        frame_index=frame,
        object_ids=tuple(results),
        mask_logits=full[:, 0],
        iou_scores=torch.stack([row.iou_score.to(device) for row in rows]),
        object_score_logits=torch.stack([row.object_score.to(device) for row in rows]),
        is_prompted=torch.tensor(list(is_prompted), device=device),
    )
