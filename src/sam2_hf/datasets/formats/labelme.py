"""Data sets of the annotation tool LabelMe."""

import base64
import binascii
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from sam2_hf.datasets.annotated_pictures import PictureClip, Shape, json_files, picture_of
from sam2_hf.datasets.annotation_files import Entry, shown
from sam2_hf.datasets.clips import LabelledClip
from sam2_hf.datasets.registry import dataset_format
from sam2_hf.errors import DecodeError
from sam2_hf.processing.pixels import decode_picture
from sam2_hf.processing.rle import FARTHEST

POLYGON = "polygon"
POINTS = {POLYGON: (3, None), "rectangle": (2, 2), "circle": (2, 2), "mask": (1, 2)}  # fewest and most of a shape

Points = list[tuple[float, float]]


@dataset_format("labelme")
def open_labelme(root: Path) -> list[LabelledClip]:
    """LabelMe: `NAME.json` with polygons, rectangles, circles or masks beside its picture.

    Shapes of one group and label are one object. JSON files that name neither shapes nor a picture are something else
    and left out.

    Raises:
        SourceError: a file or shape that cannot be meant; the message names both.
    """
    clips: list[LabelledClip] = []
    for file in json_files(root):
        whole = Entry.of_file(file)
        if "shapes" not in whole and "imagePath" not in whole:
            continue
        objects: dict[tuple, list[Shape]] = {}
        for number, shape in enumerate(whole.entries("shapes")):
            group = shape.key("group_id", None)
            place = (shape.text("label"), number if group is None else f"group {group}")
            objects.setdefault(place, []).append(_shape(shape))
        path = picture_of(_file_name(whole), file.parent, file)
        if objects:
            clip = PictureClip(
                file.relative_to(root).with_suffix("").as_posix(),
                path,
                {key: _joined(parts) for key, parts in enumerate(objects.values(), 1)},
                annotations=file,
                annotated_size=whole.size("imageHeight", "imageWidth"),
                object_names={key: label for key, (label, _) in enumerate(objects, 1)},
            )
            clips.append(clip)
    return clips


def _file_name(whole: Entry) -> str:
    """The picture is beside its JSON file, whatever path it had when it was annotated."""
    return Path(whole.text("imagePath").replace("\\", "/")).name


def _shape(entry: Entry) -> Shape:
    """One shape as a function that draws it."""
    kind = entry.text("shape_type", POLYGON)
    if kind not in POINTS:
        raise entry.problem(f"shape {kind!r} has no area; use one of {', '.join(POINTS)}")
    points = _points(entry, kind)
    encoded = entry.text("mask") if kind == "mask" else None

    def mask(size: tuple[int, int]) -> np.ndarray:
        farthest = max(abs(side) for point in points for side in point)
        if farthest > FARTHEST * max(size):
            raise entry.problem(f"a point of a picture of {size[1]} x {size[0]} pixels lies at {farthest:g}")
        canvas = Image.new("1", size[::-1])
        if encoded is not None:
            inside = _inside(encoded, entry.where).convert("1")
            canvas.paste(1, (round(points[0][0]), round(points[0][1])), inside)
        else:
            _draw(ImageDraw.Draw(canvas), kind, points)
        return np.asarray(canvas)

    return mask


def _draw(draw: ImageDraw.ImageDraw, kind: str, points: Points) -> None:
    if kind == POLYGON:
        draw.polygon(points, fill=1)
        return
    (x0, y0), (x1, y1) = points
    if kind == "rectangle":
        draw.rectangle((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), fill=1)
        return
    radius = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5  # the first point is the centre, the second on the edge
    draw.ellipse((x0 - radius, y0 - radius, x0 + radius, y0 + radius), fill=1)


def _points(entry: Entry, kind: str) -> Points:
    """Points of a shape as (x, y), as many as its kind has."""
    values, (fewest, most) = entry.values_of("points"), POINTS[kind]
    if len(values) < fewest or (most is not None and len(values) > most):
        wanted = f"at least {fewest}" if most is None else str(fewest) if fewest == most else f"{fewest} or {most}"
        raise entry.problem(f"a {kind} has {wanted} points, this one has {len(values)}")
    for value in values:
        is_pair = isinstance(value, list) and len(value) == 2 and all(type(side) in (int, float) for side in value)
        if not is_pair or not np.isfinite(np.array(value, dtype=np.float64)).all():
            found = value if isinstance(value, list) else shown(value)
            raise entry.problem(f"a point is [x, y] in pixels, found {found}")
    return [(float(x), float(y)) for x, y in values]


def _inside(encoded: str, where: str) -> Image.Image:
    """The picture of a shape of kind mask, in which what is not 0 is inside."""
    try:
        data = base64.b64decode(encoded)
    except (binascii.Error, ValueError) as error:
        raise DecodeError(f"{where}: its mask is not base64 ({error})") from error
    values = np.asarray(decode_picture(io.BytesIO(data), f"{where}: mask"))
    inside = values > 0 if values.ndim == 2 else np.any(values > 0, axis=2)
    return Image.fromarray(np.where(inside, 255, 0).astype(np.uint8))


def _joined(parts: list[Shape]) -> Shape:
    """Several shapes as one object."""

    def mask(size: tuple[int, int]) -> np.ndarray:
        return np.logical_or.reduce([part(size) for part in parts])

    return mask
