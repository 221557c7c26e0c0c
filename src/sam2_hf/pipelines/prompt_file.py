"""Prompts on disk: what the command line writes, the browser opens and saves, and every task takes as `prompts`.

What a tracker remembers of a video is a file of another kind: `sam2_hf.tracking.saving`.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from sam2_hf.errors import PromptError
from sam2_hf.pipelines.writing.drawing import colour_of
from sam2_hf.processing.prompts import ObjectPrompt
from sam2_hf.processing.requests import prompt_of_object
from sam2_hf.processing.rle import check_rle, decode_rle

SCHEMA = "sam2_hf.session/1"
IDS = (int, str)
SOURCE_KEYS = ("sha256", "name", "width", "height", "frames", "fps")


def read_prompt_file(path: str | Path, normalized: bool = False) -> list[ObjectPrompt]:
    """Requests from a file that the command line or the browser wrote, in original pixels.

    Args:
        normalized: they are fractions of width and height instead, as the file must say itself.

    Raises:
        PromptError: there is no such file, or it is not of the schema; the message names the entry.
    """
    try:
        record = json.loads(Path(path).read_text())
    except OSError as error:
        raise PromptError(f"{path}: no such file of prompts") from error
    except ValueError as error:
        raise PromptError(f"{path}: not a JSON file ({error})") from error
    try:
        return requests_of_record(record, normalized)
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from error


def read_picture_prompts(path: str | Path, normalized: bool = False) -> list[ObjectPrompt]:
    """Requests of such a file for a picture, as `read_prompt_file`.

    Raises:
        PromptError: as `read_prompt_file`, and for prompts on later frames of a video.
    """
    requests = read_prompt_file(path, normalized)
    later = next((request for request in requests if request.frame), None)
    if later is not None:
        raise PromptError(f"{path}: has prompts on frame {later.frame}; pictures have frame 0 only")
    return requests


def requests_of_record(record: dict, normalized: bool = False) -> list[ObjectPrompt]:
    """Requests from the content of such a file, as `read_prompt_file`.

    Raises:
        PromptError: it is not of the schema.
    """
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        found = record.get("schema") if isinstance(record, dict) else type(record).__name__
        raise PromptError(f"`schema` must be {SCHEMA!r}, got {found!r}; run lists and results are other files")
    if bool(record.get("normalized")) != normalized:
        units = ("pixels", "leave out") if normalized else ("fractions of width and height", "pass")
        raise PromptError(f"points and boxes are {units[0]} here; {units[1]} --normalized (normalized=True)")
    names = {}
    for index, entry in enumerate(_list_of(record, "objects")):
        _check_entry(f"object {index}", entry, {"id": IDS})
        names[entry["id"]] = entry.get("name")
    lists: dict[tuple, tuple[int, list]] = {}  # several entries of one object and frame are one prompt
    for index, entry in enumerate(_list_of(record, "prompts")):
        _check_entry(f"prompt {index}", entry, {"frame": int, "object": IDS, "list": list})
        first, found = lists.get((entry["frame"], entry["object"]), (index, []))
        lists[entry["frame"], entry["object"]] = first, found + entry["list"]
    requests = []
    for (frame, object_id), (index, found) in lists.items():
        prompt = _read_list(index, found)
        requests.append(replace(prompt, object_id=object_id, label=names.get(object_id), frame=frame))
    if not requests:
        raise PromptError("there is no prompt in it")
    return requests


def prompt_record(
    requests: Iterable[ObjectPrompt],
    *,
    model: str | None = None,
    source: dict | None = None,
    span: tuple[int, int] | None = None,
    normalized: bool = False,
) -> dict:
    """The content of such a file.

    Args:
        requests: in original pixels.
        model: name of the model they were meant for.
        source: what is known of the picture or video: sha256, name, width, height, frames, fps.
        span: first and last frame of interest.
        normalized: they are fractions of width and height.
    """
    requests = list(requests)
    names = {}
    for request in requests:
        names[request.object_id] = names.get(request.object_id) or request.label
    objects = [
        {"id": key, "name": name, "colour": "#{:02x}{:02x}{:02x}".format(*colour_of(key))}
        for key, name in names.items()
    ]
    prompts = [
        {"frame": request.frame, "object": request.object_id, "list": _written_list(request)} for request in requests
    ]
    return {
        "schema": SCHEMA,
        **({"normalized": True} if normalized else {}),
        "model": model,
        "source": {key: (source or {}).get(key) for key in SOURCE_KEYS},
        "objects": objects,
        "prompts": prompts,
        "range": None if span is None else {"start": span[0], "end": span[1]},
    }


def _list_of(record: dict, name: str) -> list:
    value = record.get(name, [])
    if not isinstance(value, list):
        raise PromptError(f"`{name}` is a list, got {type(value).__name__}")
    return value


def _check_entry(where: str, entry, kinds: dict) -> None:
    """Raises PromptError for an entry without these keys, or with values of other kinds."""
    if not isinstance(entry, dict):
        raise PromptError(f"{where} is {entry!r}, not an object with {', '.join(kinds)}")
    for key, kind in kinds.items():
        if key not in entry:
            raise PromptError(f"{where} has no {key!r}")
        if not isinstance(entry[key], kind) or isinstance(entry[key], bool):
            raise PromptError(f"{where}: {key!r} cannot be {entry[key]!r}")


def _mask_of(index: int, rle) -> np.ndarray:
    try:
        runs = check_rle(rle)
    except ValueError as error:
        raise PromptError(f"prompt {index}: the mask is not COCO run lengths ({error})") from error
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and int(runs.sum()) > 2 * most:  # where Pillow refuses pictures
        size = " x ".join(map(str, rle["size"]))
        raise PromptError(f"prompt {index}: a mask of {size} pixels; make it smaller, a mask may have any size")
    return decode_rle(rle)


def _read_list(index: int, entries: list[dict]) -> ObjectPrompt:
    """Clicks in their order, the last box and the last mask."""
    points, labels, box, mask = [], [], [], None
    for entry in entries:
        _check_entry(f"prompt {index}", entry, {})
        if "box" in entry:
            box = entry["box"]
        elif "mask" in entry:
            mask = _mask_of(index, entry["mask"])
        elif "x" in entry and "y" in entry:
            points.append([entry["x"], entry["y"]])
            labels.append(entry.get("label", 1))
        else:
            raise PromptError(f"prompt {index}: {entry} is neither a click (x, y, label), nor a box, nor a mask")
    if not (points or box or mask is not None):
        raise PromptError(f"prompt {index} is empty; give it a click, a box or a mask")
    return prompt_of_object(points or None, labels or None, box or None, mask)


def _written_list(request: ObjectPrompt) -> list[dict]:
    entries: list[dict] = []
    if request.box:
        entries.append({"box": list(request.box)})
    if request.mask is not None:
        entries.append({"mask": request.kept.mask})
    clicks = zip(request.points, request.labels, strict=True)
    return entries + [{"x": x, "y": y, "label": label} for (x, y), label in clicks]
