"""Prompts as written on the command line: `[ID:]x,y[,-]`, `[ID:]x0,y0,x1,y1`, `[ID:]FILE`; videos: `[FRAME@]` first."""

from dataclasses import dataclass, field

from sam2_hf.errors import PromptError


@dataclass(slots=True)
class WrittenPrompts:
    """Prompts of the objects, in the order of their ids."""

    object_ids: list[int] = field(default_factory=list)
    points: list[list[list[float]]] = field(default_factory=list)
    labels: list[list[int]] = field(default_factory=list)
    boxes: list[list[float]] = field(default_factory=list)
    mask_files: list[str | None] = field(default_factory=list)


def read_options(points: list[str], boxes: list[str], masks: list[str]) -> WrittenPrompts:
    """Groups options by object. Points without an id are object 1's; each box or mask without one is a new object."""
    objects: dict[int, dict] = {}

    def entry(object_id: int) -> dict:
        return objects.setdefault(object_id, {"points": [], "labels": [], "box": [], "mask": None})

    for kind, texts in (("box", boxes), ("mask", masks)):
        for position, text in enumerate(texts, start=1):
            object_id, value = _split_id(text, default=position)
            if entry(object_id)[kind]:
                raise PromptError(
                    f"--{kind} {text!r}: object {object_id} has a {kind} already; number objects as ID:..."
                )
            entry(object_id)[kind] = _numbers(text, value, 4, "--box x0,y0,x1,y1") if kind == "box" else value
    for text in points:
        object_id, value = _split_id(text, default=1)
        is_outside = value.endswith(",-")
        entry(object_id)["points"].append(_numbers(text, value.removesuffix(",-"), 2, "--point x,y[,-]"))
        entry(object_id)["labels"].append(0 if is_outside else 1)
    ids = sorted(objects)
    return WrittenPrompts(
        object_ids=ids,
        points=[objects[i]["points"] for i in ids],
        labels=[objects[i]["labels"] for i in ids],
        boxes=[objects[i]["box"] for i in ids],
        mask_files=[objects[i]["mask"] for i in ids],
    )


@dataclass(slots=True, kw_only=True)
class VideoPrompt:
    """What was written for one object on one frame."""

    frame: int
    object_id: int
    points: list[list[float]]
    labels: list[int]
    box: list[float]
    mask_file: str | None

    def arguments(self) -> dict:
        """As `Sam2InferenceSession.add_prompt` takes it."""
        given = {"frame_index": self.frame, "object_id": self.object_id}
        if self.points:
            given |= {"points": self.points, "labels": self.labels}
        if self.box:
            given["box"] = self.box
        if self.mask_file:
            given["mask"] = read_mask(self.mask_file)
        return given


def read_video_options(points: list[str], boxes: list[str], masks: list[str]) -> list[VideoPrompt]:
    """Groups options by frame and object, in the order of frames."""
    frames: dict[int, tuple[list[str], list[str], list[str]]] = {}
    for kind, texts in enumerate((points, boxes, masks)):
        for text in texts:
            frame, value = _split_frame(text)
            frames.setdefault(frame, ([], [], []))[kind].append(value)
    prompts = []
    for frame in sorted(frames):
        written = read_options(*frames[frame])
        for row, object_id in enumerate(written.object_ids):
            prompts.append(
                VideoPrompt(
                    frame=frame,
                    object_id=object_id,
                    points=written.points[row],
                    labels=written.labels[row],
                    box=written.boxes[row],
                    mask_file=written.mask_files[row],
                )
            )
    return prompts


def read_mask(file: str):
    """(height, width) of 0 and 1: what is white of a black and white picture, what is not 0 of one with a palette."""
    import numpy as np

    from sam2_hf.processing.pixels import open_picture

    picture = open_picture(file)
    inside = np.asarray(picture) > 0 if picture.mode in ("P", "1") else np.asarray(picture.convert("L")) >= 128
    return inside.astype(np.uint8)


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
    if len(numbers) != count:
        raise PromptError(f"cannot read {text!r}; write {usage}, with numbers")
    return numbers
