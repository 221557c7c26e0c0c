"""From candidates to one mask per object, as video needs it: gate, choice and pointer (SAM 2, `_forward_sam_heads`)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2_hf.modeling.configuration import MASK_AS_LOGITS_BIAS, MASK_AS_LOGITS_SCALE
from sam2_hf.modeling.outputs import MaskPrediction, ObjectPrediction

NO_OBJECT_LOGIT = -1024.0  # every pixel of a mask that is known to be absent
THIN_LOGIT = 1.0  # of cells that a thin mask runs through without filling half of them
SURE_OBJECT_SCORE = 10.0  # of a mask that the user gave; negative where it is empty

PointerOf = Callable[[Tensor, Tensor], Tensor]


def choose_masks(prediction: MaskPrediction, object_pointers: PointerOf) -> ObjectPrediction:
    """Takes the candidate with the best IoU, hides masks of absent objects, and makes the pointers.

    Args:
        prediction: of `rows` objects with one or several candidates.
        object_pointers: mask tokens (rows, channels) and scores (rows, 1) to pointers (rows, channels).
    """
    row = torch.arange(prediction.iou_scores.shape[0], device=prediction.iou_scores.device)
    best = prediction.iou_scores.argmax(dim=1)
    scores = prediction.object_score_logits
    logits = prediction.mask_logits[row, best].float()
    return ObjectPrediction(
        mask_logits=logits.masked_fill(scores[..., None] <= 0, NO_OBJECT_LOGIT),
        iou_scores=prediction.iou_scores[row, best],
        object_score_logits=scores[:, 0],
        object_pointers=object_pointers(prediction.mask_tokens[row, best], scores),
    )


def adopt_masks(masks: Tensor, pointers: Tensor, no_object_pointer: Tensor, low_res_size: int) -> ObjectPrediction:
    """Masks that the user gave, as if the decoder had drawn them.

    Args:
        masks: (rows, 1, size, size) of 0 and 1. An empty one says that the object is not on this frame.
        pointers: (rows, channels), what the decoder made of the masks.
        no_object_pointer: (1, channels), the pointer of absent objects.
        low_res_size: side of the masks at stride 4.
    """
    logits = masks.float() * MASK_AS_LOGITS_SCALE + MASK_AS_LOGITS_BIAS
    low_res = F.interpolate(logits, (low_res_size, low_res_size), mode="bilinear", align_corners=False, antialias=True)
    is_there = masks.flatten(1).any(dim=1)
    highest = low_res.amax(dim=(-2, -1), keepdim=True)  # a mask too thin for any cell keeps those that it fills most
    is_thin = is_there[:, None, None, None] & (highest <= 0)
    low_res = torch.where(is_thin & (low_res >= (highest + MASK_AS_LOGITS_BIAS) / 2), THIN_LOGIT, low_res)
    return ObjectPrediction(
        mask_logits=low_res[:, 0],
        iou_scores=torch.ones_like(is_there, dtype=torch.float32),
        object_score_logits=torch.where(is_there, SURE_OBJECT_SCORE, -SURE_OBJECT_SCORE),
        object_pointers=torch.where(is_there[:, None], pointers, no_object_pointer),
    )
