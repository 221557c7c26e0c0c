"""What a user asks of one picture or video, in whatever shape it was written, as one record per object."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import replace
from itertools import count

import numpy as np

from sam2_hf.errors import PromptError
from sam2_hf.processing.prompts import ObjectPrompt, read_prompts

OBJECT_KEYS = ("id", "frame", "points", "labels", "box", "mask", "mask_logits", "label")
NOTHING_GIVEN = 'no prompt given; pass points=, boxes=, masks=, objects= or use task "mask-generation"'
DEPTH_OF_ONE = {"points": 3, "labels": 2, "boxes": 2}  # levels of one picture's prompts; one more is a list of pictures


def prompt_of_object(points=None, labels=None, box=None, mask=None) -> ObjectPrompt:
    """The prompt of one object from its own values: `[[x, y], ...]`, `[1, ...]`, `[x0, y0, x1, y1]`, (height, width).

    Raises:
        PromptError: what cannot be meant.
    """
    wrapped = (None if value is None else [[value]] for value in (points, labels, box))
    prompt = read_prompts(1, *wrapped)[0][0] if points is not None or box is not None else ObjectPrompt()
    if labels is not None and points is None:
        raise PromptError("`labels` without `points`; pass the points that the labels are for")
    return replace(prompt, mask=mask)


def requests_from(
    *,
    points=None,
    labels=None,
    boxes=None,
    masks=None,
    mask_logits=None,
    objects: Sequence[dict] | None = None,
    object_ids: Sequence[Hashable] | None = None,
    frame: int = 0,
) -> list[ObjectPrompt]:
    """Requests of one picture, or of one frame of a video. The depth of lists decides what they mean.

    Args:
        points: `[x, y]`; `[[x, y], ...]`, one object with several points; `[[[x, y], ...], ...]`, several objects.
        labels: one level less; 1 inside, 0 outside, all inside if not given.
        boxes: `[x0, y0, x1, y1]`, or one per object.
        masks: binary, (height, width) or one per object.
        mask_logits: (height, width) or one per object.
        objects: the explicit form, exclusive with the others: `[{"id": 7, "points": ..., "labels": ..., "box": ...,
            "mask": ..., "label": "cat", "frame": 0}]`.
        object_ids: names of the objects; 1, 2, ... if not given.
        frame: of all prompts but explicit ones with a frame of their own.

    Returns:
        One request per object and frame; nothing for nothing.

    Raises:
        PromptError: what cannot be meant.
    """
    if objects is not None:
        others = {"points": points, "labels": labels, "boxes": boxes, "masks": masks, "mask_logits": mask_logits}
        given = [name for name, value in {**others, "object_ids": object_ids}.items() if value is not None]
        if given:
            raise PromptError(f"`objects` says everything; leave out {', '.join(f'`{name}`' for name in given)}")
        return _explicit(objects, frame)
    prompts = read_prompts(1, points, labels, boxes)[0]
    binary, logits = _one_per_object("masks", masks), _one_per_object("mask_logits", mask_logits)
    counts = {"points and boxes": len(prompts), "masks": len(binary), "mask_logits": len(logits)}
    counts = {name: count for name, count in counts.items() if count}
    if len(set(counts.values())) > 1:
        found = " but ".join(f"`{name}` has {count} objects" for name, count in counts.items())
        raise PromptError(f"{found}; give one entry per object (an empty list for none)")
    number = next(iter(counts.values()), 0)
    ids = _ids(object_ids, number)
    return [
        replace(
            prompts[index] if prompts else ObjectPrompt(),
            object_id=ids[index],
            frame=frame,
            mask=binary[index] if binary else None,
            mask_logits=logits[index] if logits else None,
        )
        for index in range(number)
    ]


def requests_of_pictures(number: int | None, **given) -> list[list[ObjectPrompt]] | list[ObjectPrompt]:
    """Requests of several pictures: one level more than for one picture means a list per picture.

    Args:
        number: of pictures; None where it is not known.
        given: as for `requests_from`.

    Returns:
        One list per picture, or a single list that holds for every picture.

    Raises:
        PromptError: entries for another number of pictures.
    """
    deeper = [name for name, depth in DEPTH_OF_ONE.items() if _levels(given.get(name)) > depth]
    if not deeper:
        return requests_from(**given)
    plain = [name for name in DEPTH_OF_ONE if given.get(name) is not None and name not in deeper]
    if plain:
        raise PromptError(f"`{deeper[0]}` has one entry per picture, `{plain[0]}` has not; nest both alike")
    if number is None:
        raise PromptError(
            f"`{deeper[0]}` has one entry per picture, but their number is not known; pass dicts with an image each"
        )
    for name in deeper:
        if len(given[name]) != number:
            raise PromptError(f"`{name}` has entries for {len(given[name])} pictures, but there are {number}")
    return [requests_from(**{**given, **{name: given[name][index] for name in deeper}}) for index in range(number)]


def _explicit(objects: Sequence[dict], frame: int) -> list[ObjectPrompt]:
    if isinstance(objects, dict) or not all(isinstance(entry, dict) for entry in objects):
        raise PromptError(f"`objects` is a list of dicts, one per object, got {type(objects).__name__}")
    taken = [entry["id"] for entry in objects if "id" in entry]
    free = (number for number in count(1) if number not in taken)
    requests = []
    for index, entry in enumerate(objects):
        unknown = [key for key in entry if key not in OBJECT_KEYS]
        if unknown:
            raise PromptError(f"object {index}: there is no {unknown[0]!r}; an object has {', '.join(OBJECT_KEYS)}")
        prompts = read_prompts(1, *(_of_one_object(key, entry.get(key)) for key in ("points", "labels", "box")))[0]
        request = replace(
            prompts[0] if prompts else ObjectPrompt(),
            object_id=entry["id"] if "id" in entry else next(free),
            mask=entry.get("mask"),
            mask_logits=entry.get("mask_logits"),
            label=entry.get("label"),
            frame=entry.get("frame", frame),
        )
        if request.is_empty:
            raise PromptError(f"object {request.object_id!r} has no prompt; give it points, a box or a mask")
        requests.append(request)
    return check_once(requests)


def check_once(requests: list[ObjectPrompt]) -> list[ObjectPrompt]:
    """The same prompts; raises `PromptError` where an object has two on one frame."""
    seen = Counter((request.object_id, request.frame) for request in requests)
    twice = next((key for key, count in seen.items() if count > 1), None)
    if twice is not None:
        raise PromptError(f"object {twice[0]!r} is given twice on frame {twice[1]}; put its prompts together")
    return requests


def _one_per_object(name: str, value) -> list:
    """Masks as a list of (height, width), one per object."""
    if value is None:
        return []
    if isinstance(value, (list, tuple)) and all(entry is None or np.ndim(entry) == 2 for entry in value):
        return list(value)
    dimensions = np.ndim(value)
    if dimensions == 2:
        return [value]
    if dimensions == 3:
        return list(value)
    raise PromptError(f"`{name}` must be (height, width) or (objects, height, width), got {tuple(np.shape(value))}")


def _ids(object_ids: Sequence[Hashable] | None, count: int) -> list[Hashable]:
    if object_ids is None:
        return list(range(1, count + 1))
    if len(object_ids) != count:
        raise PromptError(f"`object_ids` has {len(object_ids)} entries, but there are {count} objects")
    return list(object_ids)


def _of_one_object(name: str, value):
    """Points, labels or the box of one object, with the levels around them that `read_prompts` wants."""
    levels = _levels(value)
    if value is None or (levels and len(value) == 0):
        return None
    missing = {"points": 2, "labels": 1, "box": 1}[name] - levels  # one point, or its label, without a list around it
    for _ in range(2 + missing):
        value = [value]
    return value


def _levels(value) -> int:
    """How deep the lists go, along the first entries that are not empty."""
    if hasattr(value, "ndim"):
        return value.ndim
    if not isinstance(value, (list, tuple)):
        return 0
    return 1 + max((_levels(entry) for entry in value), default=0)
