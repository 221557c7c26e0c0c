"""What a user gives for one object on one frame, checked and brought to model pixels."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from sam2_hf.errors import PromptError
from sam2_hf.modeling.outputs import PointLabel
from sam2_hf.processing.prompts import ObjectPrompt, check_inside, read_prompts, video_mask
from sam2_hf.tracking.records import Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenPrompt:
    """A prompt as it came; fields as in `Sam2InferenceSession.add_prompt`."""

    points: Any = None
    labels: Any = None
    box: Any = None
    mask: Any = None
    normalized: bool = False

    def in_model_pixels(self, size: tuple[int, int], side: int, old: Prompt | None) -> Prompt:
        """The prompt as it is stored: box corners first, then points; after the points of `old`, if they stay.

        Args:
            size: (height, width) of the frame.
            side: of the model's input.

        Raises:
            PromptError: it cannot be meant.
        """
        if self.mask is not None:
            if self.points is not None or self.box is not None:
                raise PromptError("give a mask, or points and a box, but not both on one frame")
            return Prompt(mask=video_mask(self.mask, side))
        if self.points is None and self.box is None:
            raise PromptError("no prompt given; pass points=, box= or mask=")
        prompt = self._read()
        check_inside([prompt], size, self.normalized)
        height, width = (1, 1) if self.normalized else size
        scaled = [((x / width * side, y / height * side), int(label)) for (x, y), label in _labelled(prompt)]
        before = [] if old is None else list(zip(old.points, old.labels, strict=True))
        points, labels = zip(*before, *scaled, strict=True)
        return Prompt(points=points, labels=labels)

    def _read(self) -> ObjectPrompt:
        wrapped = (None if value is None else [[value]] for value in (self.points, self.labels, self.box))
        return read_prompts(1, *wrapped)[0][0]


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
    return object_id
