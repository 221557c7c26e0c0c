"""A result in the forms that other tools read. Geometry is exact wherever a form can hold it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from sam2_hf.errors import MissingExtraError
from sam2_hf.processing.polygons import Convention, Ring, mask_rings

PngKind = Literal["instance", "semantic", "object"]
MAX_BYTE_ID = 255  # above, index pictures have 16 bits


def crops(result, padding: int = 0, background: str | tuple[int, int, int] = "transparent") -> list[Image.Image]:
    """One RGBA picture per object, cut to its box.

    Args:
        padding: pixels around the box.
        background: "transparent", "keep" for what is there, or a colour.
    """
    pixels = result.pixels()
    height, width = result.size
    cut_out = []
    for mask, box in zip(result.masks, result.boxes.astype(int), strict=True):
        x0, y0 = max(0, box[0] - padding), max(0, box[1] - padding)
        x1, y1 = min(width, box[2] + padding), min(height, box[3] + padding)
        part, inside = pixels[y0:y1, x0:x1].copy(), mask[y0:y1, x0:x1]
        alpha = np.full(inside.shape, 255, np.uint8)
        if background == "transparent":
            alpha = inside.astype(np.uint8) * 255
        elif background != "keep":
            part[~inside] = background
        cut_out.append(Image.fromarray(np.dstack((part, alpha)), "RGBA"))
    return cut_out


def polygons(result, convention: Convention = "edge", tolerance: float = 0.0) -> list[list[Ring]]:
    """Per object its outlines, with holes; see `sam2_hf.processing.polygons`."""
    return [mask_rings(mask, convention, tolerance) for mask in result.masks]


def coco(
    result, image_id: int = 1, first_id: int = 1, categories: Sequence[dict] | None = None
) -> dict[str, list[dict]]:
    """COCO instances with compressed run lengths, which keep holes and parts.

    Args:
        image_id: of the picture.
        first_id: of the first annotation.
        categories: default: the classes of this result, numbered by `class_ids` from 1.
    """
    height, width = result.size
    if categories is None:
        named = {int(key): label for key, label in zip(result.class_ids, result.labels, strict=True) if key >= 0}
        categories = [{"id": key + 1, "name": named[key] or str(key)} for key in sorted(named)]
        categories = categories or [{"id": 1, "name": "object"}]
    annotations = []
    for index, rle in enumerate(result.masks.rle):
        x0, y0, x1, y1 = (float(side) for side in result.boxes[index])
        annotations.append(
            {
                "id": first_id + index,
                "image_id": image_id,
                "category_id": max(int(result.class_ids[index]), 0) + 1,
                "segmentation": rle,
                "area": int(result.areas[index]),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "iscrowd": 0,
                "score": float(result.quality[index]),
                "attributes": {"object_id": result.object_ids[index]},
            }
        )
    name = "" if result.source is None else Path(result.source).name
    image = {"id": image_id, "file_name": name, "height": height, "width": width}
    return {"images": [image], "annotations": annotations, "categories": list(categories)}


def index_pictures(result, kind: PngKind = "instance") -> list[Image.Image]:
    """Masks as pictures of numbers: one of all objects, one of all classes, or one per object.

    Where objects overlap the smaller one is on top. More than 255 numbers make a 16-bit picture.
    """
    if kind == "object":
        return [Image.fromarray(mask.astype(np.uint8) * 255) for mask in result.masks]
    if kind not in ("instance", "semantic"):
        raise ValueError(f"`kind` must be 'instance', 'semantic' or 'object', got {kind!r}")
    numbers = numbers_of(result.object_ids) if kind == "instance" else [int(key) + 1 for key in result.class_ids]
    canvas = np.zeros(result.size, np.uint16)
    for index in np.argsort(-result.areas, kind="stable"):
        canvas[result.masks[int(index)]] = numbers[int(index)]
    return [Image.fromarray(canvas if max(numbers, default=0) > MAX_BYTE_ID else canvas.astype(np.uint8))]


def numbers_of(object_ids: Sequence) -> list[int]:
    """Ids as numbers for files: themselves if all are whole numbers from 1, else 1, 2, ... in order."""
    if all(isinstance(key, int) and not isinstance(key, bool) and key >= 1 for key in object_ids):
        return list(object_ids)
    return list(range(1, len(object_ids) + 1))


def supervision_detections(result) -> Any:
    """`supervision.Detections`: boxes, masks, quality as confidence, ids, and all other fields in `data`."""
    try:
        import supervision
    except ImportError as error:
        raise MissingExtraError('to_supervision() needs supervision: pip install "sam2_hf[viz]"') from error
    return supervision.Detections(
        xyxy=result.boxes.astype(np.float32),
        mask=result.masks.dense(),
        confidence=result.quality,
        class_id=result.class_ids.astype(int),
        tracker_id=np.array(numbers_of(result.object_ids), dtype=int),
        data={
            "class_name": np.array([label or "" for label in result.labels]),
            "object_id": np.array(result.object_ids, dtype=object),
            **{name: getattr(result, name) for name in ("iou_scores", "stability", "object_scores", "det_scores")},
        },
    )


def data_frame(result) -> Any:
    """A pandas table with one row per object."""
    try:
        import pandas
    except ImportError as error:
        raise MissingExtraError("to_dataframe() needs pandas: pip install pandas") from error
    corners = dict(zip(("x0", "y0", "x1", "y1"), result.boxes.T, strict=True))
    columns = {"object_id": list(result.object_ids), "label": list(result.labels), "class_id": result.class_ids}
    scores = {name: getattr(result, name) for name in ("iou_scores", "stability", "object_scores", "det_scores")}
    return pandas.DataFrame({**columns, "area": result.areas, **corners, **scores, "quality": result.quality})
