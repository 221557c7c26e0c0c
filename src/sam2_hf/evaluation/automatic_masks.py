"""Protocol "everything": how many of the true objects are among the masks that nobody asked for.

There are no classes, so precision means nothing; what is reported is the average recall over IoU 0.5, 0.55, ..., 0.95
at 1000 masks, with COCO's matching: mask by mask, best first, each takes the free object that it overlaps most.
"""

import time
from dataclasses import dataclass, field

import numpy as np
from pycocotools import mask as coco

from sam2_hf.evaluation.pictures import PictureMeasurement
from sam2_hf.pipelines.mask_generation import Sam2MaskGenerator
from sam2_hf.processing.rle import Masks

THRESHOLDS = np.linspace(0.5, 0.95, 10)
MAX_MASKS = 1000


@dataclass(frozen=True, kw_only=True)
class AutomaticMasks(PictureMeasurement):
    """Measures the recall of automatic masks.

    Attributes:
        options: of `Sam2MaskGenerator`.
    """

    options: dict = field(default_factory=dict)

    def _objects(self, clip, index: int, shown: dict, void: np.ndarray | None) -> list[dict]:
        started = time.perf_counter()
        found = next(Sam2MaskGenerator(self.model, self.processor, **self.options).results([clip.frame(index)]))
        seconds = time.perf_counter() - started
        found = found[np.argsort(-found.quality, kind="stable")[:MAX_MASKS]]
        size = found.size
        truth = Masks.from_dense(np.stack(list(shown.values())), size)
        predicted = found.masks
        if void is not None:
            predicted = Masks.from_dense(predicted.dense() & ~void, size)
        overlaps = iou_matrix(predicted, truth)
        recalled = matched(overlaps, THRESHOLDS)  # (thresholds, objects)
        picture = {"masks": len(found), "seconds": round(seconds, 3), "share": 1 / len(shown)}
        entries = []
        for row, key in enumerate(shown):
            best = int(overlaps[:, row].argmax()) if len(found) else None
            entries.append(
                {
                    "id": key,
                    "frame": clip.frame_name(index),
                    "recalled": recalled[:, row].tolist(),
                    "score": 0.0 if best is None else float(overlaps[best, row]),
                    "rle": Masks.from_dense(np.zeros((1, *size)), size).rle[0] if best is None else predicted.rle[best],
                    **picture,
                }
            )
        return entries

    def _scores(self, objects: list[dict]) -> dict:
        recalled = np.array([entry["recalled"] for entry in objects], dtype=float)  # (objects, thresholds)
        pictures = sum(entry["share"] for entry in objects)
        return {
            "AR@1000": 100 * float(recalled.mean()),
            "recall@0.5": 100 * float(recalled[:, 0].mean()),
            "best_mIoU": 100 * float(np.mean([entry["score"] for entry in objects])),
            "masks_per_picture": sum(entry["share"] * entry["masks"] for entry in objects) / pictures,
            "seconds_per_picture": sum(entry["share"] * entry["seconds"] for entry in objects) / pictures,
        }

    def _columns(self) -> tuple[str, ...]:
        return ("recalled", "best IoU")

    def _row(self, entry: dict) -> tuple:
        return float(np.mean(entry["recalled"])), entry["score"]


def iou_matrix(masks: Masks, others: Masks) -> np.ndarray:
    """IoU of every mask with every other, (masks, others)."""
    if not len(masks) or not len(others):
        return np.zeros((len(masks), len(others)))
    coded = [[{**entry, "counts": entry["counts"].encode()} for entry in group.rle] for group in (masks, others)]
    return np.asarray(coco.iou(*coded, [0] * len(others)))


def matched(overlaps: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Which objects are found, (thresholds, objects) bool.

    Args:
        overlaps: IoU (masks, objects), the best mask first.
    """
    found = np.zeros((len(thresholds), overlaps.shape[1]), dtype=bool)
    for taken, threshold in zip(found, thresholds, strict=True):
        for row in overlaps:
            free = np.where(taken, -1.0, row)
            if len(free) and free.max() >= threshold:
                taken[int(free.argmax())] = True
    return found
