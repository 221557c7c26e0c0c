"""Does the model know how good it is: predicted IoU against true J, object scores against visibility."""

from collections.abc import Iterable, Sequence

BINS = 10


def calibration(records: Iterable[dict]) -> dict:
    """What the scores of single frames are worth.

    Args:
        records: of videos, with `curves` and `model_scores`.

    Returns:
        `bins`: per tenth of predicted IoU, {"from", "to", "frames", "predicted", "true"}, IoU 0 to 1, visible frames;
        `error`: `calibration_error` of the same frames;
        `visibility`: {"precision", "recall", "frames"} of "object score above 0" against a truth that is not empty.
    """
    pairs = [pair for record in records for pair in _joined(record)]
    found = [pair["object_score"] > 0 for pair in pairs]
    visible = [pair["visible"] for pair in pairs]
    both = sum(one and other for one, other in zip(found, visible, strict=True))
    visibility = {"precision": _share(both, sum(found)), "recall": _share(both, sum(visible)), "frames": len(pairs)}
    bins = [_bin(number, [pair for pair in pairs if pair["visible"]]) for number in range(BINS)]
    shown = [pair for pair in pairs if pair["visible"]]
    error = calibration_error([pair["iou_score"] for pair in shown], [pair["J"] / 100 for pair in shown])
    return {"bins": bins, "error": error, "visibility": visibility}


def calibration_error(predicted: Sequence[float], true: Sequence[float]) -> float | None:
    """The expected calibration error of estimated IoU, 0 to 1 (Guo et al. 2017, arXiv 1706.04599).

    By how much estimates are off, on average over the masks of each tenth; None without masks.

    Args:
        predicted, true: IoU of the same masks, 0 to 1.
    """
    groups: dict[int, list[float]] = {}
    for estimate, iou in zip(predicted, true, strict=True):
        groups.setdefault(_tenth(estimate), []).append(estimate - iou)
    return _share(sum(abs(sum(group)) for group in groups.values()), len(predicted))


def _tenth(estimate: float) -> int:
    """Which tenth an estimate lies in; the last one holds 1 too."""
    return max(0, min(int(estimate * BINS), BINS - 1))


def _joined(record: dict) -> list[dict]:
    """Scores of the model with the truth of the same object and frame."""
    curves = {(int(key), one["frame"]): one for key, curve in record["curves"].items() for one in curve}
    scores = record["model_scores"]
    known = [entry for entry in scores if (entry["id"], entry["frame"]) in curves]
    return [{**entry, **curves[entry["id"], entry["frame"]]} for entry in known]


def _bin(number: int, pairs: list[dict]) -> dict:
    """One tenth of the estimates."""
    inside = [pair for pair in pairs if _tenth(pair["iou_score"]) == number]
    return {
        "from": number / BINS,
        "to": (number + 1) / BINS,
        "frames": len(inside),
        "predicted": _share(sum(pair["iou_score"] for pair in inside), len(inside)),
        "true": _share(sum(pair["J"] / 100 for pair in inside), len(inside)),
    }


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
