"""What transformers' own `mask-generation` pipeline asks an image processor for.

Its defaults are the library's, not the original's, and its suppression knows scores only, not crops; for everything
else use `Sam2MaskGenerator`. With `batch_size` above 1 the library's collation fails; use `points_per_batch` there.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sam2_hf.processing.candidates import ends_at_crop, inclusive_boxes, is_stable
from sam2_hf.processing.crops import crops_of, layer_grids
from sam2_hf.processing.late_masks import LateLogits
from sam2_hf.processing.masks import resize_logits
from sam2_hf.processing.pixels import to_pixels
from sam2_hf.processing.suppression import box_suppression

AT_ONCE = 64  # masks at the picture's size that exist together


def generate_crop_boxes(
    image,
    target_size: int,
    crop_n_layers: int = 0,
    overlap_ratio: float = 512 / 1500,
    points_per_crop: int = 32,
    crop_n_points_downscale_factor: int = 1,
    device: torch.device | str | None = None,
) -> tuple[Tensor, Tensor, list[Image.Image], Tensor]:
    """Crops of a picture and a grid of clicks for each.

    All crops get equally many points, because the pipeline wants one tensor: points of sparser layers are repeated, and
    suppression removes what they find twice.

    Args:
        device: of the tensors that are returned.

    Returns:
        crop boxes (crops, 4) float32, points (1, points, crops, 2) in model pixels, the crops, and labels
        (1, points, crops).
    """
    pixels = to_pixels(image)
    if pixels.is_floating_point():
        pixels = (pixels * 255).round().byte()
    picture = Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())
    crops = crops_of((picture.height, picture.width), crop_n_layers, overlap_ratio)
    grids = layer_grids(points_per_crop, crop_n_layers, crop_n_points_downscale_factor)
    count = max(len(grid) for grid in grids)
    columns = [grids[crop.layer][np.arange(count) % len(grids[crop.layer])] for crop in crops]
    points = torch.tensor(np.stack(columns, axis=1) * target_size, dtype=torch.float32)[None]
    boxes = torch.tensor([crop.box for crop in crops], dtype=torch.float32)
    labels = torch.ones(1, count, len(crops), dtype=torch.int64)
    return boxes.to(device), points.to(device), [picture.crop(crop.box) for crop in crops], labels.to(device)


def filter_masks(
    masks: Tensor,
    iou_scores: Tensor,
    original_size,
    cropped_box_image,
    pred_iou_thresh: float = 0.88,
    stability_score_thresh: float = 0.95,
    mask_threshold: float = 0.0,
    stability_score_offset: float = 1.0,
) -> tuple[list[dict], Tensor, Tensor]:
    """Keeps good, stable masks that their crop has not cut off.

    Args:
        masks: (points, masks, height, width) logits at the crop's size.
        iou_scores: (points, masks).
        original_size: (height, width) of the picture.
        cropped_box_image: (x0, y0, x1, y1) of the crop.

    Returns:
        uncompressed run lengths in the picture, scores (n,), and boxes (n, 4) in the picture with inclusive maxima.
    """
    height, width = (int(side) for side in original_size)
    x0, y0, x1, y1 = (int(side) for side in cropped_box_image)
    low = masks.low if isinstance(masks, LateLogits) else masks
    low, scores = low.flatten(0, 1), iou_scores.flatten(0, 1)
    keep = scores > pred_iou_thresh if pred_iou_thresh > 0 else torch.ones_like(scores, dtype=torch.bool)
    if stability_score_thresh > 0:  # enlarging cannot raise a logit: these have no stable core
        keep &= low.flatten(1).amax(dim=1) > mask_threshold + stability_score_offset
    rles: list[dict] = []
    kept_scores, kept_boxes = [scores[:0]], [scores.new_zeros(0, 4, dtype=torch.float32)]
    for part in keep.nonzero()[:, 0].split(AT_ONCE):
        logits = resize_logits(low[part][:, None], (y1 - y0, x1 - x0))[:, 0]
        stable = is_stable(logits, stability_score_thresh, mask_threshold, stability_score_offset)[1]
        inside, part = logits[stable] > mask_threshold, part[stable]
        boxes = inclusive_boxes(inside) + torch.tensor([x0, y0, x0, y0], device=inside.device)
        whole = ~ends_at_crop(boxes, (x0, y0, x1, y1), (height, width))
        full = np.zeros((int(whole.sum()), height, width), dtype=bool)
        full[:, y0:y1, x0:x1] = inside[whole].cpu().numpy()
        rles += [run_lengths(mask) for mask in full]
        kept_scores.append(scores[part[whole]])
        kept_boxes.append(boxes[whole].float())
    return rles, torch.cat(kept_scores), torch.cat(kept_boxes)


def post_process_for_mask_generation(
    all_masks: list[dict], all_scores: Tensor, all_boxes: Tensor, crops_nms_thresh: float = 0.7
) -> tuple[list[np.ndarray], Tensor, list[dict], Tensor]:
    """Suppresses what was found twice.

    Returns:
        masks (height, width) bool, scores, run lengths and boxes of what is left, by falling score.
    """
    kept = box_suppression(all_boxes, all_scores, crops_nms_thresh)
    rles = [all_masks[index] for index in kept.tolist()]
    return [from_run_lengths(rle) for rle in rles], all_scores[kept], rles, all_boxes[kept]


def run_lengths(mask: np.ndarray) -> dict:
    """Uncompressed COCO run lengths: column by column, starting with background."""
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    ends = np.concatenate(([0], changes, [flat.size]))
    counts = np.diff(ends).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat.size and flat[0] else counts}


def from_run_lengths(rle: dict) -> np.ndarray:
    """The mask of uncompressed run lengths, (height, width) bool."""
    counts = rle["counts"]
    values = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return values.reshape(rle["size"], order="F")
