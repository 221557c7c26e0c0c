"""A result in the forms that other tools read. Geometry is exact wherever a form can hold it."""

import base64
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from sam2_hf.disk.whole import check_free, fitting, write_whole
from sam2_hf.errors import MissingExtraError
from sam2_hf.pipelines.writing.drawing import as_colour, colour_of
from sam2_hf.pipelines.writing.fast_png import fast_png
from sam2_hf.processing.bridges import edge_polygons
from sam2_hf.processing.id_pictures import MAX_SHORT_ID, draw_ids, id_image, png_bytes
from sam2_hf.processing.polygons import Convention, Ring, mask_rings

PngKind = Literal["instance", "semantic", "object"]
SAVED_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
UNNAMED = "object"  # the class of objects without one, for forms that need a class
LABELME_VERSION = "5.5.0"  # of the program whose files these are like
SCORES = ("iou_scores", "stability", "object_scores", "det_scores")


def file_bytes(result, path: Path) -> bytes:
    """A result as a file of this name: overlay, record or dense masks, as the suffix says.

    Raises:
        ValueError: another suffix.
    """
    suffix = path.suffix.lower()
    buffer = io.BytesIO()
    if suffix == ".png":
        buffer.write(fast_png(result.plot()))
    elif suffix in SAVED_SUFFIXES:
        result.plot().save(buffer, format=Image.registered_extensions()[suffix])
    elif suffix == ".json":
        buffer.write(f"{result.to_json()}\n".encode())
    elif suffix == ".npz":
        is_plain = all(isinstance(key, (int, str)) for key in result.object_ids)
        ids = np.array(result.object_ids if is_plain else [str(key) for key in result.object_ids])
        np.savez_compressed(buffer, masks=result.masks.dense(), object_ids=ids)
    else:
        known = ", ".join((*SAVED_SUFFIXES, ".json", ".npz"))
        raise ValueError(f"{path}: cannot save as {suffix or 'a file without suffix'}; use one of {known}")
    return buffer.getvalue()


def crops(result, padding: int = 0, background: str | tuple[int, int, int] = "transparent") -> list[Image.Image]:
    """One RGBA picture per object, cut to its box.

    Args:
        padding: pixels around the box.
        background: "transparent", "keep" for what is there, or a colour: three numbers, or a name or code of Pillow.
    """
    colour = None if background in ("transparent", "keep") else as_colour(background)
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
            part[~inside] = colour
        cut_out.append(Image.fromarray(np.dstack((part, alpha)), "RGBA"))
    return cut_out


def save_crops(result, folder: Path, padding: int = 0, background="transparent", overwrite: bool = False) -> list[Path]:
    """Writes `crops` as `<picture>_<id>_<class>.png`; objects with an empty mask have none.

    Raises:
        OutputExistsError: one of the files exists and `overwrite` is False; then none is written.
    """
    ids = [_file_part(key) for key in result.object_ids]
    if len({key.lower() for key in ids}) < len(ids):
        ids = [str(number) for number in numbers_of(result.object_ids)]
    parts = [(result.stem, key, _file_part(label or "")) for key, label in zip(ids, result.labels, strict=True)]
    paths = [folder / (fitting("_".join(filter(None, names)), spare=len(".png")) + ".png") for names in parts]
    cut_out = crops(result, padding, background)
    shown = [(path, crop) for path, crop, area in zip(paths, cut_out, result.areas, strict=True) if area]
    for path, _ in shown:
        check_free(path, overwrite)
    return [write_whole(path, png_bytes(crop), overwrite) for path, crop in shown]


def polygons(result, convention: Convention = "edge", tolerance: float = 0.0) -> list[list[Ring]]:
    """Per object its outlines, with holes; see `sam2_hf.processing.polygons`."""
    return [mask_rings(mask, convention, tolerance) for mask in result.masks]


def coco(
    result, image_id: int = 1, first_id: int = 1, categories: Sequence[dict] | None = None, polygons: bool = False
) -> dict[str, list[dict]]:
    """COCO instances with compressed run lengths, which keep holes and parts.

    Args:
        image_id: of the picture.
        first_id: of the first annotation.
        polygons: polygons on pixel edges instead, holes cut in by bridges without width; an empty mask has none.
        categories: default: the classes of this result, numbered by `class_ids` from 1. Objects without a class are of
            the one that is named "object".
    """
    height, width = result.size
    found, unnamed_id = coco_categories(zip(result.class_ids, result.labels, strict=True))
    if categories is not None:
        unnamed_id = next((entry["id"] for entry in categories if entry["name"] == UNNAMED), unnamed_id)
    annotations = []
    for row in range(len(result)):
        class_id = int(result.class_ids[row])
        category_id = class_id + 1 if class_id >= 0 else unnamed_id
        numbers = {"id": first_id + row, "image_id": image_id, "category_id": category_id}
        annotation = coco_annotation(result, row)
        if polygons:
            outlines = edge_polygons(result.masks[row])
            annotation["segmentation"] = [points.astype(float).ravel().tolist() for points in outlines]
        annotations.append({**numbers, **annotation})
    image = {"id": image_id, "file_name": result.file_name, "height": height, "width": width}
    return {
        "images": [image],
        "annotations": annotations,
        "categories": found if categories is None else list(categories),
    }


def coco_categories(classes) -> tuple[list[dict], int]:
    """COCO's list of the classes in pairs (class id, name), and the category of objects without a class."""
    named: dict[int, str | None] = {}
    has_unnamed = False
    for class_id, label in classes:
        has_unnamed |= class_id < 0
        if class_id >= 0:
            named[int(class_id)] = named.get(int(class_id)) or label
    unnamed_id = max(named, default=-1) + 2
    categories = [{"id": key + 1, "name": named[key] or str(key)} for key in sorted(named)]
    if has_unnamed or not named:
        categories.append({"id": unnamed_id, "name": UNNAMED})
    return categories, unnamed_id


def coco_annotation(result, row: int) -> dict[str, Any]:
    """One object as COCO has it, without the numbers that depend on the rest of the file."""
    x0, y0, x1, y1 = (float(side) for side in result.boxes[row])
    scores = {name: finite(getattr(result, name)[row]) for name in SCORES}
    return {
        "segmentation": dict(result.masks.rle[row]),
        "area": int(result.masks[row : row + 1].areas()[0]),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "iscrowd": 0,
        "score": finite(result.quality[row]),
        "attributes": {"object_id": plain_id(result.object_ids[row]), **scores},
    }


def plain_id(object_id) -> Any:
    """An id as JSON keeps it; tuples become lists.

    Raises:
        ValueError: an id of another kind than numbers, text, None and tuples of them.
    """
    if isinstance(object_id, tuple):
        return [plain_id(part) for part in object_id]
    if object_id is None or isinstance(object_id, (str, int, float)):
        return object_id
    kind = type(object_id).__name__
    raise ValueError(f"object id {object_id!r} is a {kind}, which JSON cannot hold; use whole numbers or text")


def finite(value: float) -> float | None:
    """A score for JSON: 6 decimals, None for one that was not computed."""
    return round(float(value), 6) if np.isfinite(value) else None


def labelme(result, polygons: bool = False) -> dict[str, Any]:
    """The file of the annotation tool LabelMe: masks as base64 PNGs, or polygons that are exact too.

    Args:
        polygons: one shape per part on pixel edges, holes cut in by bridges without width; parts share a `group_id`.
    """
    height, width = result.size
    shapes = []
    for row, number in enumerate(numbers_of(result.object_ids)):
        common = {"label": result.labels[row] or UNNAMED, "group_id": number, "flags": {}}
        common["description"] = _scores_as_text(result, row)
        for geometry in _labelme_polygons(result.masks[row]) if polygons else _labelme_mask(result.masks[row]):
            shapes.append({**common, **geometry})
    whole = {"version": LABELME_VERSION, "flags": {}, "shapes": shapes, "imagePath": result.file_name}
    return {**whole, "imageData": None, "imageHeight": height, "imageWidth": width}


def _labelme_polygons(mask: np.ndarray) -> list[dict[str, Any]]:
    outlines = [points.astype(float).tolist() for points in edge_polygons(mask)]
    return [{"shape_type": "polygon", "points": points, "mask": None} for points in outlines]


def _labelme_mask(mask: np.ndarray) -> list[dict[str, Any]]:
    """The crop of a mask, 0 and 1, with its first and last pixel; nothing for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return []
    first, last = (int(columns[0]), int(rows[0])), (int(columns[-1]), int(rows[-1]))
    picture = png_bytes(Image.fromarray(mask[first[1] : last[1] + 1, first[0] : last[0] + 1].astype(np.uint8)))
    points = [[float(x), float(y)] for x, y in (first, last)]
    return [{"shape_type": "mask", "points": points, "mask": base64.b64encode(picture).decode("ascii")}]


def _scores_as_text(result, row: int) -> str:
    scores = {name: finite(getattr(result, name)[row]) for name in SCORES}
    return ", ".join(f"{name} {value}" for name, value in scores.items() if value is not None)


def index_pictures(result, kind: PngKind = "instance") -> list[Image.Image]:
    """Masks as pictures of numbers: one of all objects, one of all classes, or one per object.

    Where objects overlap the smaller one is on top. Numbers above 255 make a 16-bit picture; ids above 65535 become
    1, 2, ... Without any class all objects are of the first one.
    """
    if kind == "object":
        return [Image.fromarray(mask.astype(np.uint8) * 255) for mask in result.masks]
    if kind not in ("instance", "semantic"):
        raise ValueError(f"`kind` must be 'instance', 'semantic' or 'object', got {kind!r}")
    if kind == "instance":
        numbers = numbers_of(result.object_ids)
        numbers = list(range(1, len(numbers) + 1)) if max(numbers, default=0) > MAX_SHORT_ID else numbers
    else:
        has_classes = any(key >= 0 for key in result.class_ids)
        numbers = [int(key) + 1 if has_classes else 1 for key in result.class_ids]
    order = np.argsort(-result.areas, kind="stable").tolist()
    shown = [row for row in order if numbers[row]]  # an object without a class erases nothing of the others
    return [id_image(draw_ids(((numbers[row], result.masks[row]) for row in shown), result.size), id_palette())]


def id_palette() -> list[int]:
    """256 colours of ids, red, green and blue one after the other; 0 is black."""
    return [0, 0, 0, *(part for number in range(1, 256) for part in colour_of(number))]


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
            **{name: getattr(result, name) for name in SCORES},
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
    scores = {name: getattr(result, name) for name in SCORES}
    return pandas.DataFrame({**columns, "area": result.areas, **corners, **scores, "quality": result.quality})


def _file_part(name) -> str:
    """A name without what file names cannot hold."""
    return re.sub(r"[^\w.-]+", "-", str(name)).strip("-.")
