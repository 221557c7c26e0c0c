"""Does the model know how good it is: predicted IoU against true J, object scores against visibility."""

from collections.abc import Iterable

BINS = 10


def calibration(records: Iterable[dict]) -> dict:
    """What the scores of single frames are worth.

    Args:
        records: of videos, with `curves` and `model_scores`.

    Returns:
        `bins`: per tenth of predicted IoU, {"from", "to", "frames", "predicted", "true"}, IoU 0 to 1, visible frames;
        `visibility`: {"precision", "recall", "frames"} of "object score above 0" against a truth that is not empty.
    """
    pairs = [pair for record in records for pair in _joined(record)]
    found = [pair["object_score"] > 0 for pair in pairs]
    visible = [pair["visible"] for pair in pairs]
    both = sum(one and other for one, other in zip(found, visible, strict=True))
    visibility = {"precision": _share(both, sum(found)), "recall": _share(both, sum(visible)), "frames": len(pairs)}
    bins = [_bin(number, [pair for pair in pairs if pair["visible"]]) for number in range(BINS)]
    return {"bins": bins, "visibility": visibility}


def _joined(record: dict) -> list[dict]:
    """Scores of the model with the truth of the same object and frame."""
    curves = {(int(key), one["frame"]): one for key, curve in record["curves"].items() for one in curve}
    scores = record["model_scores"]
    known = [entry for entry in scores if (entry["id"], entry["frame"]) in curves]
    return [{**entry, **curves[entry["id"], entry["frame"]]} for entry in known]


def _bin(number: int, pairs: list[dict]) -> dict:
    """One tenth; the last one holds 1 too."""
    inside = [pair for pair in pairs if min(int(pair["iou_score"] * BINS), BINS - 1) == number]
    return {
        "from": number / BINS,
        "to": (number + 1) / BINS,
        "frames": len(inside),
        "predicted": _share(sum(pair["iou_score"] for pair in inside), len(inside)),
        "true": _share(sum(pair["J"] / 100 for pair in inside), len(inside)),
    }


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
