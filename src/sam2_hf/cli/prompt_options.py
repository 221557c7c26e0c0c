"""Prompts as written on the command line: `[ID:]x,y[,-]`, `[ID:]x0,y0,x1,y1`, `[ID:]FILE`; videos: `[FRAME@]` first."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from sam2_hf.errors import PromptError, SourceError

if TYPE_CHECKING:
    from sam2_hf.processing.prompts import ObjectPrompt


def read_options(points: list[str], boxes: list[str], masks: list[str], frame: int = 0) -> list[dict]:
    """What options say, one entry of `objects` each, in the order of their ids; masks are still names of files.

    Points without an id are object 1's; each box or mask without one is a new object. Nothing heavy is imported, so
    that a wrong call is answered at once.
    """
    objects: dict[int, dict] = {}

    def entry(text: str, default: int) -> tuple[dict, str]:
        object_id, value = _split_id(text, default)
        return objects.setdefault(object_id, {"id": object_id, "frame": frame, "points": [], "labels": []}), value

    for position, text in enumerate(boxes, start=1):
        written, value = entry(text, position)
        _refuse_second("box", text, written)
        x0, y0, x1, y1 = written["box"] = _numbers(text, value, 4, "--box x0,y0,x1,y1")
        if x0 >= x1 or y0 >= y1:
            raise PromptError(
                f"--box {text!r} has no area; give the top-left corner first: x0,y0,x1,y1, x1 > x0, y1 > y0"
            )
    for position, text in enumerate(masks, start=1):
        written, value = entry(text, position)
        _refuse_second("mask", text, written)
        written["mask"] = value
    for text in points:
        written, value = entry(text, 1)
        written["points"].append(_numbers(text, value.removesuffix(",-"), 2, "--point x,y[,-]"))
        written["labels"].append(0 if value.endswith(",-") else 1)
    return [objects[object_id] for object_id in sorted(objects)]


def prompts_of(written: list[dict]) -> list["ObjectPrompt"]:
    """The prompts that options ask for, their masks read."""
    for entry in written:
        if "mask" in entry:
            _existing(entry["mask"])
    from sam2_hf.processing.requests import requests_from

    masks = [{"mask": read_mask(entry["mask"])} if "mask" in entry else {} for entry in written]
    return requests_from(objects=[{**entry, **mask} for entry, mask in zip(written, masks, strict=True)])


def read_video_options(points: list[str], boxes: list[str], masks: list[str]) -> list[dict]:
    """The same by frame and object, in the order of frames."""
    frames: dict[int, tuple[list[str], list[str], list[str]]] = {}
    for kind, texts in enumerate((points, boxes, masks)):
        for text in texts:
            frame, value = _split_frame(text)
            frames.setdefault(frame, ([], [], []))[kind].append(value)
    return [prompt for frame in sorted(frames) for prompt in read_options(*frames[frame], frame)]


def _refuse_second(kind: str, text: str, written: dict) -> None:
    if kind in written:
        raise PromptError(f"--{kind} {text!r}: object {written['id']} has a {kind} already; number objects as ID:...")


def check_prompt_files(prompts: str | None, init_masks: str | None = None) -> None:
    """Refuses files that are not there, before anything heavy is imported.

    Raises:
        PromptError: no such file of prompts.
        SourceError: no such picture of object numbers.
    """
    if prompts is not None and not Path(prompts).is_file():
        raise PromptError(f"{prompts}: no such file of prompts")
    if init_masks is not None:
        _existing(_split_frame(init_masks)[1])


def _existing(name: str) -> str:
    if not Path(name).exists():
        raise SourceError(f"{name}: there is no such file")
    return name


def read_mask(file: str):
    """(height, width) of 0 and 1; see `sam2_hf.processing.picture_files.read_binary_mask`."""
    from sam2_hf.processing.picture_files import read_binary_mask

    return read_binary_mask(file).astype("uint8")


def read_index_masks(text: str) -> list["ObjectPrompt"]:
    """Prompts of a picture of object numbers, `[FRAME@]FILE`, or of the first such picture of a folder.

    The frame of a folder's picture is the number that it is named by, else 0.
    """
    from sam2_hf.processing.picture_files import pictures_in, read_ids
    from sam2_hf.processing.prompts import ObjectPrompt

    frame, name = _split_frame(text)
    path = Path(name)
    if path.is_dir():
        pictures = pictures_in(path)
        if not pictures:
            raise PromptError(f"{path}: there is no picture of object numbers in this folder")
        path = pictures[0]
        frame = int(path.stem) if path.stem.isdigit() else frame
    ids = read_ids(path)
    numbers = sorted(set(ids.ravel().tolist()) - {0})
    if not numbers:
        raise PromptError(f"{path}: every pixel is 0; objects are numbers from 1")
    return [ObjectPrompt(object_id=number, frame=frame, mask=ids == number) for number in numbers]


def _split_frame(text: str) -> tuple[int, str]:
    head, at, tail = text.partition("@")
    return (int(head), tail) if at and head.strip().isdigit() else (0, text)


def _split_id(text: str, default: int) -> tuple[int, str]:
    head, colon, tail = text.partition(":")
    return (int(head), tail) if colon and head.strip().isdigit() else (default, text)


def _numbers(text: str, value: str, count: int, usage: str) -> list[float]:
    try:
        numbers = [float(part) for part in value.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise PromptError(f"cannot read {text!r}; write {usage}, with numbers")
    return numbers
