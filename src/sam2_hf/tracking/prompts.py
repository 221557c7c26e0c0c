"""What a user gives for one object on one frame, checked and brought to model pixels."""

from collections.abc import Hashable

from sam2_hf.errors import PromptError
from sam2_hf.modeling.outputs import PointLabel
from sam2_hf.processing.prompts import ObjectPrompt, check_inside, video_mask
from sam2_hf.tracking.records import Prompt


def in_model_pixels(
    given: ObjectPrompt, size: tuple[int, int], side: int, old: Prompt | None = None, normalized: bool = False
) -> Prompt:
    """A prompt as it is stored: box corners first, then points; after the points of `old`, if they stay.

    Args:
        size: (height, width) of the frame.
        side: of the model's input.
        normalized: points and box are fractions of width and height.

    Raises:
        PromptError: it cannot be meant.
    """
    if given.mask is not None:
        if given.points or given.box:
            raise PromptError("give a mask, or points and a box, but not both on one frame")
        return Prompt(mask=video_mask(given.mask, side))
    if given.is_empty:
        raise PromptError("no prompt given; pass points=, box= or mask=")
    check_inside([given], size, normalized)
    height, width = (1, 1) if normalized else size
    scaled = [((x / width * side, y / height * side), int(label)) for (x, y), label in _labelled(given)]
    before = [] if old is None else list(zip(old.points, old.labels, strict=True))
    if given.box and old is not None:
        raise PromptError("a box replaces earlier points of its frame; pass it with clear_old_points=True")
    points, labels = zip(*before, *scaled, strict=True)
    return Prompt(points=points, labels=labels)


def _labelled(prompt: ObjectPrompt) -> list[tuple[tuple[float, float], int]]:
    """Points with their labels, the corners of the box first."""
    pairs = [((x, y), label) for (x, y), label in zip(prompt.points, prompt.labels, strict=True)]
    if not prompt.box:
        return pairs
    x0, y0, x1, y1 = prompt.box
    return [((x0, y0), PointLabel.BOX_TOP_LEFT), ((x1, y1), PointLabel.BOX_BOTTOM_RIGHT), *pairs]


def plain_id(object_id) -> Hashable:
    """An id as Python knows it: a scalar of NumPy or PyTorch is its number (a tensor equals no key but itself).

    Raises:
        PromptError: it can be no key.
    """
    object_id = object_id.item() if hasattr(object_id, "item") else object_id
    if not isinstance(object_id, Hashable):
        raise PromptError(f"`object_id` is {object_id!r}, but it must be hashable: a number or a name")
    if object_id != object_id:
        raise PromptError("`object_id` is not a number (NaN), which equals nothing, not even itself; give it a name")
    return object_id
