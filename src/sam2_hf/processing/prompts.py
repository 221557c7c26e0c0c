"""Points, boxes and masks as users write them, to padded tensors in model pixels.

Values may be lists, tuples, arrays or tensors on any device, nested [image][object][point][x, y]; for a single picture
outer levels may be left out. Objects may have different numbers of points: they are padded with a label that the model
takes out again.
"""

import math
import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sam2_hf.errors import PromptError
from sam2_hf.modeling.configuration import MASK_AS_LOGITS_BIAS, MASK_AS_LOGITS_SCALE
from sam2_hf.processing.rle import Masks

PAD = -10  # the library's convention: label of a padding point, and all four numbers of a missing box
HALF_A_CELL = 0.5  # a cell of the model's grid is inside from here on, as in the original
POINT_LABELS = (PAD, -1, 0, 1)
MISSING_BOX = [PAD] * 4  # of an object without a box in a padded batch


@dataclass(frozen=True, slots=True)
class ObjectPrompt:
    """What is asked for one object on one frame: the one record from every door to the tensors.

    Attributes:
        points: [[x, y], ...] in pixels of the picture, or in fractions until `in_pixels`.
        labels: one per point, 1 inside and 0 outside.
        box: [x0, y0, x1, y1], or nothing.
        mask: binary mask (height, width) of any size; in results, which keep it to be asked again, COCO run lengths.
        object_id: what the user calls the object.
        frame: where in a video, counted from 0.
        label: name of its class.
        mask_logits: (height, width) low-resolution logits of an earlier answer.
    """

    points: list[list[float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    box: list[float] = field(default_factory=list)
    mask: Any = None
    object_id: Hashable = None
    frame: int = 0
    label: str | None = None
    mask_logits: Any = None

    @property
    def is_empty(self) -> bool:
        """Nothing says where the object is."""
        return not (self.points or self.box or self.mask is not None or self.mask_logits is not None)

    @property
    def kept(self) -> "ObjectPrompt | None":
        """As results keep it beside their own ids and classes, its mask as run lengths; None for nothing."""
        if self.mask is None:
            return ObjectPrompt(self.points, self.labels, self.box) if self.points or self.box else None
        inside = as_tensor(self.mask).numpy() > 0
        rle = Masks.from_dense(inside[None], inside.shape).rle[0]
        return ObjectPrompt(self.points, self.labels, self.box, rle)

    def in_pixels(self, size: tuple[int, int]) -> "ObjectPrompt":
        """The same with fractions turned into pixels of a picture of (height, width)."""
        height, width = size
        return replace(
            self,
            points=[[x * width, y * height] for x, y in self.points],
            box=[side * (height if index % 2 else width) for index, side in enumerate(self.box)],
        )


def read_prompts(num_images: int, points=None, labels=None, boxes=None) -> list[list[ObjectPrompt]]:
    """Prompts of a batch as one list of objects per picture.

    Raises:
        PromptError: depth, counts or values that cannot be meant.
    """
    if labels is not None and points is None:
        raise PromptError("`labels` without `points`; pass the points that the labels are for")
    if points is None and boxes is None:
        return [[] for _ in range(num_images)]
    nested_points = None if points is None else _lift("points", points, 4, num_images)
    nested_boxes = None if boxes is None else _lift("boxes", boxes, 3, num_images)
    nested_labels = None if labels is None else _lift("labels", labels, 3, num_images)
    images = []
    for index in range(num_images):
        image_points = None if nested_points is None else nested_points[index]
        image_boxes = None if nested_boxes is None else nested_boxes[index]
        image_labels = None if nested_labels is None else nested_labels[index]
        images.append(_objects(image_points, image_labels, image_boxes))
    return images


def _objects(points: list | None, labels: list | None, boxes: list | None) -> list[ObjectPrompt]:
    """The objects of one picture; a single entry of points or boxes serves all entries of the other."""
    counts = {name: len(value) for name, value in (("points", points), ("boxes", boxes)) if value is not None}
    number = max(counts.values())
    if any(count not in (1, number) for count in counts.values()):
        found = " but ".join(f"`{name}` has {count} objects" for name, count in counts.items())
        raise PromptError(f"{found}; give one entry per object (an empty list for none)")
    if labels is not None and points is not None and len(labels) != len(points):
        raise PromptError(
            f"`points` has {len(points)} objects but `labels` has {len(labels)}; give one list per object"
        )
    objects = []
    for index in range(number):
        own_points = [] if points is None else points[index if len(points) > 1 else 0]
        own_labels = None if labels is None else labels[index if len(labels) > 1 else 0]
        own_box = [] if boxes is None else boxes[index if len(boxes) > 1 else 0]
        objects.append(_object(index, own_points, own_labels, own_box))
    return objects


def _object(index: int, points: list, labels: list | None, box: list) -> ObjectPrompt:
    if labels is None:
        labels = [1] * len(points)
    if len(labels) != len(points):
        raise PromptError(f"object {index}: {len(points)} points but {len(labels)} labels")
    for point in points:
        if len(point) != 2:
            raise PromptError(f"object {index}: a point is (x, y), got {point}")
        _check_finite(f"object {index}: point", point)
    for label in labels:
        if label not in POINT_LABELS:
            raise PromptError(f"object {index}: label {label} is not a label; use 1 for inside and 0 for outside")
    if box and box != MISSING_BOX:
        _check_box(index, box)
    return ObjectPrompt(points=points, labels=[int(label) for label in labels], box=box)


def _check_box(index: int, box: list) -> None:
    if len(box) != 4:
        raise PromptError(f"object {index}: a box is (x0, y0, x1, y1), got {len(box)} numbers: {box}")
    _check_finite(f"object {index}: box", box)
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0:
        raise PromptError(
            f"object {index}: box {box} has no area; give the top-left corner first: (x0, y0, x1, y1), x1 > x0, y1 > y0"
        )


def _check_finite(what: str, values: list) -> None:
    if not all(math.isfinite(value) for value in values):
        raise PromptError(f"{what} {values} has NaN or infinite coordinates")


def _lift(name: str, value: Any, depth: int, num_images: int) -> list:
    """Nested lists of the wanted depth, one entry per picture."""
    nested = _to_lists(name, value)
    if name == "labels" and not isinstance(nested, list):
        nested = [nested]  # one point, one label
    found = _depth(name, nested)
    if not _has_numbers(nested):
        raise PromptError(f"`{name}` is empty; give at least one, or leave the argument out")
    if found > depth:
        raise PromptError(f"`{name}` is nested {found} deep, at most {depth} levels mean something: {_LEVELS[name]}")
    if found < depth and num_images != 1:
        raise PromptError(f"`{name}` is nested {found} deep; for {num_images} pictures it needs {_LEVELS[name]}")
    if found == 0:
        raise PromptError(f"`{name}` is a single number; it needs {_LEVELS[name]}")
    for _ in range(depth - found):
        nested = [nested]
    if len(nested) != num_images:
        raise PromptError(f"`{name}` has entries for {len(nested)} pictures, but there are {num_images}")
    for index, image in enumerate(nested):
        if not image:
            raise PromptError(
                f"`{name}` has no object for picture {index}; give at least one, or leave the argument out"
            )
    return nested


_LEVELS = {
    "points": "[image][object][point][x, y]",
    "labels": "[image][object][point]",
    "boxes": "[image][object][x0, y0, x1, y1]",
}


def _to_lists(name: str, value: Any) -> Any:
    """Lists and Python numbers from any nesting of lists, tuples, arrays, tensors and NumPy numbers; None is empty."""
    if isinstance(value, Tensor):
        return value.detach().cpu().tolist()
    if isinstance(value, (np.ndarray, np.generic)):
        return _to_lists(name, value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_to_lists(name, item) for item in value]
    if value is None:
        return []
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    raise PromptError(
        f"`{name}` holds {value!r} of type {type(value).__name__}; use numbers in lists, arrays or tensors"
    )


def _depth(name: str, nested: Any) -> int:
    """Levels of lists around the numbers. Lists without a number fit any depth."""
    if not isinstance(nested, list):
        return 0
    depths = {_depth(name, item) for item in nested if _has_numbers(item)}
    if len(depths) > 1:
        raise PromptError(
            f"`{name}` mixes depths: some entries are nested deeper than others; it needs {_LEVELS[name]}"
        )
    return 1 + max(depths, default=0)


def _has_numbers(nested: Any) -> bool:
    return any(_has_numbers(item) for item in nested) if isinstance(nested, list) else True


def check_inside(objects: list[ObjectPrompt], size: tuple[int, int], normalized: bool) -> None:
    """Warns about prompts outside a picture of (height, width), refuses those farther out than its own size."""
    height, width = (1.0, 1.0) if normalized else size
    boxes = [prompt.box for prompt in objects if prompt.box and prompt.box != MISSING_BOX]
    corners = [(x, y) for box in boxes for x, y in (box[:2], box[2:])]
    clicks = [
        tuple(point)
        for prompt in objects
        for point, label in zip(prompt.points, prompt.labels, strict=True)
        if label != PAD
    ]
    outside = [p for p in clicks + corners if not (0 <= p[0] <= width and 0 <= p[1] <= height)]
    for x, y in outside:
        if not (-width <= x <= 2 * width and -height <= y <= 2 * height):
            frame = "fractions 0..1" if normalized else f"width {size[1]}, height {size[0]}"
            raise PromptError(f"point ({x:g}, {y:g}) is far outside the picture ({frame}); points are (x, y) in pixels")
    if outside:
        x, y = outside[0]
        warnings.warn(f"{len(outside)} points lie outside the picture, first ({x:g}, {y:g})", UserWarning, stacklevel=4)
    values = [value for point in clicks + corners for value in point]
    fractional = values and all(0 <= v <= 1 for v in values) and any(v not in (0, 1) for v in values)
    if fractional and not normalized and min(size) > 1:
        warnings.warn("all points lie in 0..1; pass normalized=True if they are fractions", UserWarning, stacklevel=4)


def prompt_tensors(
    images: list[list[ObjectPrompt]], scales: list[tuple[float, float]]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Pads and scales the prompts of a batch.

    Args:
        images: objects per picture.
        scales: factors (x, y) per picture from its coordinates to model pixels.

    Returns:
        points (batch, objects, points, 2), labels (batch, objects, points) and boxes (batch, objects, 4), float32 in
        model pixels and int64; None for kinds that nobody gave.
    """
    num_objects = max(len(objects) for objects in images)
    num_points = max((len(prompt.points) for objects in images for prompt in objects), default=0)
    has_boxes = any(prompt.box for objects in images for prompt in objects)
    points = np.full((len(images), num_objects, num_points, 2), PAD, dtype=np.float64)
    labels = np.full((len(images), num_objects, num_points), PAD, dtype=np.int64)
    boxes = np.full((len(images), num_objects, 4), PAD, dtype=np.float64)
    for i, (objects, scale) in enumerate(zip(images, scales, strict=True)):
        for j, prompt in enumerate(objects):
            if prompt.points:
                count = len(prompt.points)
                labels[i, j, :count] = prompt.labels
                is_real = labels[i, j, :count] != PAD
                points[i, j, :count][is_real] = np.asarray(prompt.points, dtype=np.float64)[is_real] * scale
            if prompt.box and prompt.box != MISSING_BOX:
                boxes[i, j] = np.asarray(prompt.box, dtype=np.float64) * (scale * 2)
    return (
        torch.from_numpy(points).float() if num_points else None,
        torch.from_numpy(labels) if num_points else None,
        torch.from_numpy(boxes).float() if has_boxes else None,
    )


def video_mask(mask, size: int) -> Tensor:
    """A binary mask (height, width) in the model's size: (size, size) bool. It may be empty, if it was.

    A mask too thin to fill half of any cell keeps the cells that it fills most: an empty mask would mean "absent".

    Raises:
        PromptError: another number of axes, or values other than 0 and 1 (or 0 and 255).
    """
    values = _binary(mask)
    if values.dim() != 2 or values.numel() == 0:
        raise PromptError(f"`mask` must be (height, width), got {tuple(values.shape)}; pass one object per call")
    values = (values > 0).float()
    if tuple(values.shape) != (size, size):
        values = F.interpolate(values[None, None], (size, size), mode="bilinear", antialias=True)[0, 0]
    inside = values >= HALF_A_CELL
    return inside if bool(inside.any()) or not bool(values.any()) else values >= values.max() / 2


def mask_logits_of(masks, mask_size: tuple[int, int]) -> Tensor:
    """Binary masks of any size as mask prompts: (objects, height, width) to (objects, *mask_size) logits.

    Raises:
        PromptError: values other than 0 and 1 (or 0 and 255), or a shape that is not (objects, height, width).
    """
    values = _binary(masks)
    if values.dim() == 2:
        values = values.unsqueeze(0)
    if values.dim() != 3 or values.numel() == 0:
        raise PromptError(f"`masks` must be (height, width) or (objects, height, width), got {tuple(values.shape)}")
    logits = (values > 0).float() * MASK_AS_LOGITS_SCALE + MASK_AS_LOGITS_BIAS
    return F.interpolate(logits.unsqueeze(1), mask_size, mode="bilinear", antialias=True).squeeze(1)


def finite_logits(name: str, logits) -> Tensor:
    """Logits of an earlier answer as float32 on the CPU.

    Raises:
        PromptError: NaN or infinity among them.
    """
    values = as_tensor(logits).float()
    if not bool(torch.isfinite(values).all()):
        raise PromptError(f"`{name}` has NaN or infinite logits")
    return values


def _binary(masks) -> Tensor:
    values = as_tensor(masks)
    found = values.unique()
    if len(found) > 2 or not {float(value) for value in found} <= {0.0, 1.0, 255.0}:
        shown = ", ".join(f"{float(value):g}" for value in found[:4])
        raise PromptError(f"`masks` must be binary, but holds {shown}, ...; pass logits as `input_masks`")
    return values


def as_tensor(values) -> Tensor:
    """A tensor on the CPU from a tensor, an array, or any nesting of lists of them."""
    if isinstance(values, Tensor):
        return values.detach().cpu()
    if isinstance(values, (list, tuple)):
        return torch.stack([as_tensor(value) for value in values])
    return torch.as_tensor(np.array(values))
