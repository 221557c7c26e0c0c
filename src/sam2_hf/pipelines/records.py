"""A result as the neutral record that annotations are kept in: one JSON object of plain values, and back.

Keys stand in the order of the schema. What a result does not know is null or empty; numbers have 6 decimals, and there
is no NaN. Keys after `attributes` and after `objects` are what a result needs beyond the schema to come back as it was.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from sam2_hf.pipelines.writing.exports import finite, numbers_of, plain_id
from sam2_hf.processing.polygons import count_parts
from sam2_hf.processing.prompts import ObjectPrompt
from sam2_hf.processing.rle import Masks

SCHEMA = "sam2_hf.annotation/1"
DECIMALS = 6
SCORE_NAMES = {"det": "det_scores", "iou": "iou_scores", "stability": "stability", "object": "object_scores"}
NO_CLASS = -1
UNREADABLE = "unreadable"  # status of a picture or frame that could not be looked at


def to_record(result) -> dict[str, Any]:
    """The record of a picture; a frame of a video fills in the rest itself."""
    numbers, areas, quality = numbers_of(result.object_ids), result.areas, result.quality
    height, width = result.size
    return {
        "schema": SCHEMA,
        "item": result.source,
        "video": None,
        "frame": None,
        "time": None,
        "sha1": None,
        "size_bytes": None,
        "width": width,
        "height": height,
        "exif_orientation": None,
        "status": "ok" if len(result) else "empty",
        "error": None,
        "config": None,
        "objects": [_object(result, row, numbers[row], areas[row], quality[row]) for row in range(len(result))],
        "source": result.source,
        "timings": dict(result.timings),
    }


def class_numbers(labels: Sequence[str | None], classes: Sequence[str] | None = None) -> np.ndarray:
    """Numbers of class names, (N,) int64, -1 for no class.

    Args:
        classes: names in the order of their numbers; default: in the order in which they come.
    """
    classes = list(dict.fromkeys(label for label in labels if label is not None)) if classes is None else list(classes)
    return np.array([NO_CLASS if label is None else classes.index(label) for label in labels], dtype=np.int64)


def fields_of(record: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments of the `ImageResult` that a record was made of.

    Raises:
        ValueError: the record has another schema, or is of a picture that could not be read.
    """
    if record.get("schema") != SCHEMA:
        raise ValueError(f"the record has schema {record.get('schema')!r}, this version reads {SCHEMA!r}; make it anew")
    if record.get("status") == UNREADABLE:
        raise ValueError(f"{record['item']}: this is the record of one that could not be read ({record['error']})")
    size, objects = (record["height"], record["width"]), record["objects"]
    prompts = [entry.get("given") for entry in objects]
    return {
        "source": record.get("source") or record["video"] or record["item"],
        "size": size,
        "masks": Masks([entry["rle"] for entry in objects], size),
        "object_ids": tuple(_hashable(entry["attributes"].get("object_id", entry["id"])) for entry in objects),
        "boxes": np.array([entry["box"] for entry in objects], dtype=np.float32).reshape(-1, 4),
        "class_ids": np.array([_or(entry["class_id"], NO_CLASS) for entry in objects], dtype=np.int64),
        "labels": tuple(entry["class"] for entry in objects),
        "prompts": tuple(None if given is None else ObjectPrompt(**given) for given in prompts)
        if any("given" in entry for entry in objects)
        else (),
        "alternatives": tuple(Masks(entry["alternatives"], size) for entry in objects if "alternatives" in entry),
        "timings": dict(record.get("timings") or {}),
        **{
            name: np.array([_or(entry["scores"].get(key), np.nan) for entry in objects], dtype=np.float32)
            for key, name in SCORE_NAMES.items()
        },
    }


def _object(result, row: int, number: int, area: int, quality: float) -> dict[str, Any]:
    object_id, class_id, label = result.object_ids[row], int(result.class_ids[row]), result.labels[row]
    parts, holes = count_parts(result.masks[row])
    scores = {key: finite(getattr(result, name)[row]) for key, name in SCORE_NAMES.items()}
    is_named = type(object_id) is not int or object_id != number
    entry = {
        "id": number,
        "detection": None,
        "class_id": None if class_id == NO_CLASS else class_id,
        "class": label,
        "prompt": None,
        "source": None,
        "box_detected": None,
        "box": [_whole(side) for side in result.boxes[row]],
        "rle": dict(result.masks.rle[row]),
        "area": int(area),
        "parts": parts,
        "holes": holes,
        "scores": {**scores, "box_iou": None, "quality": finite(quality)},
        "track": None,
        "visible": bool(area),
        "flags": [],
        "attributes": {"object_id": plain_id(object_id)} if is_named else {},
    }
    if result.prompts:
        given = result.prompts[row]
        entry["given"] = given and {
            "points": given.points,
            "labels": given.labels,
            "box": given.box,
            **({"mask": given.mask} if given.mask else {}),
        }
    if result.alternatives:
        entry["alternatives"] = [dict(rle) for rle in result.alternatives[row].rle]
    return entry


def _hashable(object_id) -> Any:
    return tuple(_hashable(part) for part in object_id) if isinstance(object_id, list) else object_id


def _whole(side: float) -> float | int:
    return int(side) if float(side).is_integer() else round(float(side), DECIMALS)


def _or(value, default):
    return default if value is None else value


def name_of(source: str | None) -> str:
    """The file name of a path or an address; empty for None."""
    if source is None:
        return ""
    return Path(urlsplit(source).path if "://" in source else source).name
