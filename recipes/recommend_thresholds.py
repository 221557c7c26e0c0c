"""Which thresholds a checkpoint should recommend for finding everything: measured on pictures that are held out.

    python recipes/recommend_thresholds.py MODEL --root DATA/photos --names recipes/held-out.txt --every 4

Everything is asked for once without thresholds; pairs of thresholds are then tried on what came back. The pair that
finds most objects (IoU 0.5) with no more than `--most-masks` masks a picture is printed as the `mask_generation` block
of a processor's file; `--write` puts it there.
"""

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sam2_hf.checkpoints.loading import load
from sam2_hf.datasets.formats.masks import open_masks
from sam2_hf.evaluation.automatic_masks import MAX_MASKS, iou_matrix, matched
from sam2_hf.pipelines.mask_generation import Sam2MaskGenerator
from sam2_hf.processing.processor import Sam2Processor
from sam2_hf.processing.rle import Masks
from sam2_hf.processing.suppression import box_suppression

IOU_STEPS, STABILITY_STEPS = np.arange(0.05, 0.91, 0.05), np.arange(0.2, 0.96, 0.05)
NMS = 0.7
FOUND = np.array([0.5])  # IoU from which on an object counts as found


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Everything that was found in one picture without thresholds.

    Attributes:
        iou, stability: (n,) as the model estimates them.
        boxes: (n, 4).
        overlaps: (n, objects), true IoU with each object.
    """

    iou: np.ndarray
    stability: np.ndarray
    boxes: np.ndarray
    overlaps: np.ndarray

    def score(self, least_iou: float, least_stability: float) -> tuple[int, int, int]:
        """Objects found, objects there are, and masks kept with a pair of thresholds."""
        kept = np.flatnonzero((self.iou > least_iou) & (self.stability >= least_stability))
        if len(kept):
            boxes, scores = torch.from_numpy(self.boxes[kept]), torch.from_numpy(self.iou[kept])
            kept = kept[box_suppression(boxes, scores, NMS).numpy()]
        best_first = kept[np.argsort(-self.iou[kept], kind="stable")[:MAX_MASKS]]
        found = matched(self.overlaps[best_first], FOUND)
        return int(found.sum()), self.overlaps.shape[1], len(kept)


def candidates_of(model, processor, clip, points_per_side: int) -> Candidates:
    """Everything in a picture, with what it truly overlaps."""
    loose = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0}
    generator = Sam2MaskGenerator(model, processor, points_per_side=points_per_side, **loose)
    found = next(generator.results([clip.frame(0)]))
    truth = [mask for mask in clip.masks(0).values() if mask.any()]
    overlaps = iou_matrix(found.masks, Masks.from_dense(np.stack(truth), found.size))
    return Candidates(iou=found.iou_scores, stability=found.stability, boxes=found.boxes, overlaps=overlaps)


def trials(pictures: list[Candidates]) -> list[dict]:
    """Recall and masks a picture for every pair of thresholds; every picture counts alike."""
    rows = []
    for least_iou in IOU_STEPS.round(2).tolist():
        for least_stability in STABILITY_STEPS.round(2).tolist():
            scores = np.array([picture.score(least_iou, least_stability) for picture in pictures], dtype=float)
            rows.append(
                {
                    "pred_iou_thresh": least_iou,
                    "stability_score_thresh": least_stability,
                    "recall": 100 * float((scores[:, 0] / scores[:, 1]).mean()),
                    "masks": float(scores[:, 2].mean()),
                }
            )
    return rows


def recommended(rows: Iterable[dict], most_masks: float) -> dict:
    """The pair that finds most with no more masks than that; of equals the one with fewer masks.

    Raises:
        SystemExit: all pairs keep more.
    """
    allowed = [row for row in rows if row["masks"] <= most_masks]
    if not allowed:
        raise SystemExit(f"all thresholds keep more than {most_masks:g} masks a picture; raise --most-masks")
    return max(allowed, key=lambda row: (round(row["recall"], 6), -row["masks"]))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--names", type=Path, help="one name a line; default: all pictures")
    parser.add_argument("--every", type=int, default=1, help="take every n-th of them")
    parser.add_argument("--points-per-side", type=int, default=16)
    parser.add_argument("--most-masks", type=float, default=25)
    parser.add_argument("--write", type=Path, help="folder of a checkpoint whose processor gets the block")
    given = parser.parse_args(arguments)
    model, processor, _ = load(given.model, device="cpu", dtype="fp32")
    clips = {clip.name: clip for clip in open_masks(given.root)}
    names = given.names.read_text().split() if given.names else list(clips)
    pictures = [candidates_of(model, processor, clips[name], given.points_per_side) for name in names[:: given.every]]
    best = recommended(trials(pictures), given.most_masks)
    block = {name: best[name] for name in ("pred_iou_thresh", "stability_score_thresh")}
    found = f"recall {best['recall']:.1f} with {best['masks']:.1f} masks a picture"
    print(f"{json.dumps(block)}  on {len(pictures)} pictures: {found}")
    if given.write is not None:
        kept = Sam2Processor.from_pretrained(given.write)
        kept.image_processor.mask_generation = block
        kept.save_pretrained(given.write)


if __name__ == "__main__":
    main()
