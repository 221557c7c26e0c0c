"""Protocols of pictures: mIoU after clicks, NoC and AUC, mIoU for boxes.

Every object of every picture is asked for on its own; the objects of one picture share its encoding and go through the
decoder together. Frames of a video that have a truth count as pictures.
"""

import time
from dataclasses import dataclass

import numpy as np

from sam2_hf.evaluation.calibration import calibration_error
from sam2_hf.evaluation.curves import NOC_LIMIT, area_under_curve, number_of_clicks
from sam2_hf.evaluation.metrics import tight_box
from sam2_hf.evaluation.picture_prompts import EncodedPicture, box_ious, click_curves, jittered
from sam2_hf.evaluation.scores import Table
from sam2_hf.processing.rle import Masks

OBJECT_BATCH = 64  # objects per decoder call
JITTER_SEEDS = range(5)
REPORTED_CLICKS = (1, 3, 5)
NOC_QUALITIES = (0.85, 0.90)


@dataclass(frozen=True, kw_only=True)
class PictureMeasurement:
    """What protocols of pictures share; each says how the objects of one picture are measured, and what they mean."""

    model: object
    processor: object

    def measure(self, clip) -> dict:
        """The record of one picture, or of one video as several: {"name", "frames", "seconds", "objects"}."""
        started = time.perf_counter()
        objects = [entry for index in clip.labelled_frames for entry in self._frame(clip, index)]
        seconds = round(time.perf_counter() - started, 3)
        return {"name": clip.name, "frames": len(clip.labelled_frames), "seconds": seconds, "objects": objects}

    def _frame(self, clip, index: int) -> list[dict]:
        """Entries of the objects on a frame that has any."""
        void = clip.void(index)
        shown = {key: mask if void is None else mask & ~void for key, mask in clip.masks(index).items()}
        shown = {key: mask for key, mask in shown.items() if mask.any()}
        return self._objects(clip, index, shown, void) if shown else []

    def _objects(self, clip, index: int, shown: dict, void: np.ndarray | None) -> list[dict]:
        """Measures objects: {"id", "frame", "score", "rle", ...} of each."""
        raise NotImplementedError

    def _scores(self, objects: list[dict]) -> dict:
        """Means over objects, 0 to 100."""
        raise NotImplementedError

    def _columns(self) -> tuple[str, ...]:
        """Names of the columns of the table."""
        raise NotImplementedError

    def _row(self, entry: dict) -> tuple:
        """Their values for one object, 0 to 1."""
        raise NotImplementedError

    def results(self, records: list[dict], missing: list[dict]) -> dict:
        """`results.json` of all pictures; several data sets weigh equally."""
        groups: dict[str, list[dict]] = {}
        for record in records:
            groups.setdefault(record["name"].rpartition("/")[0], []).extend(record["objects"])
        groups = {name: objects for name, objects in groups.items() if objects}
        scores = {name: self._scores(objects) for name, objects in groups.items()}
        keys = list(next(iter(scores.values()), {}))
        overall = {key: float(np.mean([score[key] for score in scores.values()])) for key in keys}
        overall |= {key: sum(score[key] for score in scores.values()) for key in keys if key.startswith("NoF")}
        overall |= {"objects": sum(map(len, groups.values())), "pictures": sum(record["frames"] for record in records)}
        return {"global": overall, "data_sets": scores, "videos": records, "excluded": [], "missing": missing}

    def table(self, results: dict) -> Table:
        """Objects with their values, 0 to 100; the means come first."""
        columns = self._columns()
        named = [(name, entry["frame"], entry["id"]) for name, entry in _entries(results)]
        rows = [self._row(entry) for _, entry in _entries(results)]
        values = 100 * np.array(rows, dtype=float).reshape(-1, len(columns))
        lines = [(*who, *value.round(1).tolist()) for who, value in zip(named, values, strict=True)]
        if len(values):
            lines.insert(0, ("Mean over objects", "", "", *values.mean(axis=0).round(1).tolist()))
        return Table(columns=("picture", "frame", "obj", *columns), rows=tuple(lines))

    def shown(self, clip, entry: dict) -> tuple[str, np.ndarray, np.ndarray]:
        """The last mask of an object, as `Measurement.shown`."""
        index = next(index for index in clip.labelled_frames if clip.frame_name(index) == entry["frame"])
        truth = clip.masks(index)[entry["id"]]
        return entry["frame"], truth, Masks([entry["rle"]], truth.shape)[0]


@dataclass(frozen=True, kw_only=True)
class PictureProtocol(PictureMeasurement):
    """Measures the objects of pictures from prompts.

    Attributes:
        kind: "clicks" or "box".
        max_clicks: clicks per object; NoC needs 20.
        baseline: for boxes, score GrabCut from the same box too.
    """

    kind: str
    max_clicks: int = max(REPORTED_CLICKS)
    baseline: bool = False

    def _objects(self, clip, index: int, shown: dict, void: np.ndarray | None) -> list[dict]:
        image = clip.frame(index)
        picture = EncodedPicture(self.model, self.processor, image, void)
        ids, entries = list(shown), []
        for start in range(0, len(ids), OBJECT_BATCH):
            part = ids[start : start + OBJECT_BATCH]
            truths = np.stack([shown[key] for key in part])
            keys = [f"{clip.name}/{clip.frame_name(index)}/{key}" for key in part]
            answers = self._clicks(picture, truths) if self.kind == "clicks" else self._boxes(picture, truths, keys)
            if self.baseline:
                self._add_baseline(answers, image, truths)
            named = zip(part, answers, strict=True)
            entries += [{"id": key, "frame": clip.frame_name(index), **answer} for key, answer in named]
        return entries

    def _clicks(self, picture: EncodedPicture, truths: np.ndarray) -> list[dict]:
        curves, oracle, predicted, estimated = click_curves(picture, truths, self.max_clicks)
        rles = Masks.from_dense(predicted, picture.size).rle
        return [
            {
                "clicks": curve.tolist(),
                "oracle": float(best),
                "estimate": float(estimate),
                "score": float(curve[-1]),
                "rle": rle,
            }
            for curve, best, estimate, rle in zip(curves, oracle, estimated, rles, strict=True)
        ]

    def _boxes(self, picture: EncodedPicture, truths: np.ndarray, keys: list[str]) -> list[dict]:
        boxes = [[float(side) for side in tight_box(truth)] for truth in truths]
        ious, predicted, estimated = box_ious(picture, truths, boxes)
        moved = []
        for seed in JITTER_SEEDS:
            noisy = [jittered(box, picture.size, seed, key) for box, key in zip(boxes, keys, strict=True)]
            moved.append(box_ious(picture, truths, noisy)[0])
        rles = Masks.from_dense(predicted, picture.size).rle
        return [
            {
                "box": float(iou),
                "jittered": [float(value) for value in column],
                "estimate": float(estimate),
                "score": float(iou),
                "rle": rle,
            }
            for iou, column, estimate, rle in zip(ious, np.transpose(moved), estimated, rles, strict=True)
        ]

    def _add_baseline(self, answers: list[dict], image, truths: np.ndarray) -> None:
        from sam2_hf.evaluation.baselines import grabcut
        from sam2_hf.evaluation.metrics import region_similarity

        for answer, truth in zip(answers, truths, strict=True):
            answer["grabcut"] = region_similarity(grabcut(np.asarray(image), tight_box(truth)), truth)

    def _columns(self) -> tuple[str, ...]:
        if self.kind == "box":
            return ("box", "jittered")
        return (*(f"{k}-click" for k in REPORTED_CLICKS if k <= self.max_clicks), "1-click oracle")

    def _row(self, entry: dict) -> tuple:
        if self.kind == "box":
            return entry["box"], np.mean(entry["jittered"])
        return (*(entry["clicks"][k - 1] for k in REPORTED_CLICKS if k <= self.max_clicks), entry["oracle"])

    def _scores(self, objects: list[dict]) -> dict:
        if self.kind == "box":
            scores = {"box_mIoU": _mean([entry["box"] for entry in objects])}
            scores["jittered_box_mIoU"] = _mean([entry["jittered"] for entry in objects])
            if all("grabcut" in entry for entry in objects):
                scores["grabcut_box_mIoU"] = _mean([entry["grabcut"] for entry in objects])
            return scores | _calibration(objects, [entry["box"] for entry in objects])
        curves = np.array([entry["clicks"] for entry in objects])  # (objects, clicks)
        scores = {f"{k}_click_mIoU": _mean(curves[:, k - 1]) for k in REPORTED_CLICKS if k <= self.max_clicks}
        scores["oracle_1_click_mIoU"] = _mean([entry["oracle"] for entry in objects])
        scores[f"AUC@{self.max_clicks}"] = 100 * area_under_curve(curves.mean(axis=0))
        if self.max_clicks >= NOC_LIMIT:
            for quality in NOC_QUALITIES:
                noc, failures = number_of_clicks(curves, quality)
                scores |= {f"NoC@{100 * quality:.0f}": noc, f"NoF@{100 * quality:.0f}": failures}
        return scores | _calibration(objects, curves[:, 0].tolist())


def _entries(results: dict) -> list[tuple[str, dict]]:
    return [(record["name"], entry) for record in results["videos"] for entry in record["objects"]]


def _calibration(objects: list[dict], true: list[float]) -> dict:
    """How far the estimated IoU is off; nothing for records of earlier runs, which lack the estimates."""
    if not objects or any("estimate" not in entry for entry in objects):
        return {}
    return {"calibration_error": 100 * calibration_error([entry["estimate"] for entry in objects], true)}


def _mean(values) -> float:
    return 100 * float(np.mean(values))
