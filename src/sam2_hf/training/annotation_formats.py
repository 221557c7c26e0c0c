"""Data sets whose masks are in JSON files: COCO, LabelMe, SA-1B and SA-V."""

import base64
import io
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from sam2_hf.errors import ConfigError, DecodeError, SourceError
from sam2_hf.processing.picture_files import natural_order, pictures_in, read_picture
from sam2_hf.processing.rle import decode_rle, polygons_to_mask
from sam2_hf.processing.video import frames_from
from sam2_hf.training.formats import LabelledClip, ObjectFoldersClip, frame_folders

SAV_ANNOTATION_STRIDE = 4  # SA-V annotates every fourth of 24 frames a second
SAV_VARIANTS = ("manual", "auto")
LABELME_SHAPES = ("polygon", "rectangle", "circle", "mask")


class PictureClip(LabelledClip):
    """A picture with masks that are made from its annotations when they are asked for.

    Args:
        name: unique in its data set.
        path: the picture.
        shapes: object id to a function of (height, width) that returns the mask.
        object_names: object id to its category.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        shapes: dict[int, Callable[[tuple[int, int]], np.ndarray]],
        object_names: dict[int, str] | None = None,
    ):
        self.name, self.path, self.shapes = name, path, shapes
        self.object_names = object_names or {}
        self.labelled_frames = (0,)

    @property
    def num_frames(self) -> int:
        return 1

    @property
    def object_ids(self) -> tuple[int, ...]:
        return tuple(sorted(self.shapes))

    def frame(self, index: int) -> Image.Image:
        return read_picture(self.path)

    def frame_name(self, index: int) -> str:
        return self.path.stem

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    def masks(self, index: int) -> dict[int, np.ndarray]:
        self.check_labelled(index)
        masks = {key: shape(self.size) for key, shape in self.shapes.items()}
        for mask in masks.values():
            if mask.shape != self.size:
                raise SourceError(f"{self.name}: a mask is (height, width) {mask.shape}, the picture is {self.size}")
        return masks


class SavClip(LabelledClip):
    """A video of SA-V train: an mp4 and masklets of COCO run lengths on every fourth frame.

    Frames are the annotated ones; frames with a masklet that is null are left out.
    """

    def __init__(self, path: Path, annotation: Path):
        self.name, self.path, self.annotation = path.stem, path, annotation
        masklets = _json(annotation)["masklet"]
        self._masklets = [(number, objects) for number, objects in enumerate(masklets) if None not in objects]
        self.labelled_frames = tuple(range(len(self._masklets)))
        self.object_names = {}

    @property
    def num_frames(self) -> int:
        return len(self._masklets)

    @property
    def object_ids(self) -> tuple[int, ...]:
        return tuple(range(1, 1 + max((len(objects) for _, objects in self._masklets), default=0)))

    @cached_property
    def _video(self):
        return frames_from(self.path)

    def frame(self, index: int) -> Image.Image:
        pixels = self._video[self._masklets[index][0] * SAV_ANNOTATION_STRIDE]
        return Image.fromarray(pixels.permute(1, 2, 0).numpy())

    def frame_name(self, index: int) -> str:
        return f"{self._masklets[index][0] * SAV_ANNOTATION_STRIDE:05d}"

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path, self.annotation)

    def masks(self, index: int) -> dict[int, np.ndarray]:
        self.check_labelled(index)
        return {key: decode_rle(rle) for key, rle in enumerate(self._masklets[index][1], 1)}


def open_sav(root: Path, *, variant: str = "manual") -> list[LabelledClip]:
    """SA-V: folders of frames with `Annotations*/<clip>/<object>/*.png`, or `<id>.mp4` with `<id>_manual.json`.

    Args:
        variant: of the JSON files, "manual" or "auto".
    """
    if variant not in SAV_VARIANTS:
        raise ConfigError(f"`variant` must be 'manual' or 'auto', got {variant!r}")
    videos = natural_order(root.rglob("*.mp4"))
    if videos:
        pairs = [(path, path.with_name(f"{path.stem}_{variant}.json")) for path in videos]
        return [SavClip(path, annotation) for path, annotation in pairs if annotation.exists()]
    frames = next((path for path in natural_order(root.glob("JPEGImages*")) if path.is_dir()), None)
    annotations = next((path for path in natural_order(root.glob("Annotations*")) if path.is_dir()), None)
    if frames is None or annotations is None:
        return [ObjectFoldersClip(*clip) for clip in frame_folders(root)]
    return [
        ObjectFoldersClip(folder.name, pictures_in(frames / folder.name), folder)
        for folder in natural_order(path for path in annotations.iterdir() if path.is_dir())
    ]


def open_coco(
    root: Path, *, annotations: str | None = None, images: str | None = None, crowds: bool = False
) -> list[LabelledClip]:
    """COCO instances: polygons and run lengths.

    Args:
        annotations: JSON file below `root`; default: the only one there, also in `annotations/`.
        images: folder of pictures below `root`; default: `images`, or `root` itself.
        crowds: take regions of many objects (`iscrowd`) too.
    """
    file = _only_json(root) if annotations is None else root / annotations
    data = _json(file)
    folder = root / images if images else root / "images" if (root / "images").is_dir() else root
    categories = {category["id"]: category["name"] for category in data.get("categories", [])}
    by_image: dict[int, list[dict]] = {}
    for annotation in data["annotations"]:
        if annotation.get("segmentation") and (crowds or not annotation.get("iscrowd")):
            by_image.setdefault(annotation["image_id"], []).append(annotation)
    clips: list[LabelledClip] = []
    for image in data["images"]:
        path = folder / image["file_name"]
        if not path.exists():
            raise SourceError(f"{path}: named in {file.name}, but there is no such file")
        objects = dict(enumerate(by_image.get(image["id"], []), 1))
        names = {key: categories.get(one.get("category_id"), "") for key, one in objects.items()}
        shapes = {key: _coco_shape(one["segmentation"], image["file_name"]) for key, one in objects.items()}
        if shapes:
            clips.append(PictureClip(image["file_name"], path, shapes, names))
    return clips


def open_labelme(root: Path) -> list[LabelledClip]:
    """LabelMe: `NAME.json` with polygons, rectangles, circles or masks beside its picture.

    Shapes of one group and label are one object.
    """
    clips: list[LabelledClip] = []
    for file in natural_order(root.rglob("*.json")):
        data = _json(file)
        if "shapes" not in data:
            continue
        objects: dict[tuple, list[dict]] = {}
        for number, shape in enumerate(data["shapes"]):
            group = shape.get("group_id")
            objects.setdefault((shape["label"], number if group is None else f"group {group}"), []).append(shape)
        shapes = {key: _labelme_shape(parts, file) for key, parts in enumerate(objects.values(), 1)}
        names = {key: label for key, (label, _) in enumerate(objects, 1)}
        path = file.parent / Path(data["imagePath"].replace("\\", "/")).name
        if not path.exists():
            raise SourceError(f"{path}: named in {file.name}, but there is no such file")
        if shapes:
            clips.append(PictureClip(file.relative_to(root).with_suffix("").as_posix(), path, shapes, names))
    return clips


def open_sa1b(
    root: Path, *, max_area_fraction: float | None = None, min_uncertain_iou: float | None = None
) -> list[LabelledClip]:
    """SA-1B: `sa_<n>.jpg` and `sa_<n>.json` with run lengths. Empty masks are left out.

    Args:
        max_area_fraction: leave out masks that cover at least this share of the picture.
        min_uncertain_iou: leave out masks whose `uncertain_iou` is below this.
    """
    clips: list[LabelledClip] = []
    for file in natural_order(root.rglob("*.json")):
        path = file.with_suffix(".jpg")
        if not path.exists():
            raise SourceError(f"{path}: the picture of {file.name} is missing")
        kept = []
        for annotation in _json(file)["annotations"]:
            rle = annotation["segmentation"]
            share = annotation["area"] / (rle["size"][0] * rle["size"][1])
            too_large = max_area_fraction is not None and share >= max_area_fraction
            too_vague = min_uncertain_iou is not None and annotation.get("uncertain_iou", 1.0) < min_uncertain_iou
            if annotation["area"] > 0 and not too_large and not too_vague:
                kept.append(rle)
        if kept:
            shapes = {key: _coco_shape(rle, file.name) for key, rle in enumerate(kept, 1)}
            clips.append(PictureClip(file.stem, path, shapes))
    return clips


def _json(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise SourceError(f"{path}: there is no such file") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DecodeError(f"{path}: is not JSON ({error})") from error


def _only_json(root: Path) -> Path:
    files = [*natural_order(root.glob("*.json")), *natural_order((root / "annotations").glob("*.json"))]
    if len(files) != 1:
        names = ", ".join(path.name for path in files) or "none"
        raise SourceError(f"{root}: expected one JSON file of annotations, found {names}; name it with `annotations`")
    return files[0]


def _coco_shape(segmentation, where: str) -> Callable[[tuple[int, int]], np.ndarray]:
    """Polygons or run lengths, compressed or not."""

    def mask(size: tuple[int, int]) -> np.ndarray:
        try:
            is_polygons = isinstance(segmentation, list)
            return polygons_to_mask(segmentation, size) if is_polygons else decode_rle(segmentation)
        except ValueError as error:
            raise SourceError(f"{where}: {error}") from error

    return mask


def _labelme_shape(parts: list[dict], file: Path) -> Callable[[tuple[int, int]], np.ndarray]:
    for part in parts:
        if part.get("shape_type", "polygon") not in LABELME_SHAPES:
            known = ", ".join(LABELME_SHAPES)
            raise SourceError(f"{file}: shape {part['shape_type']!r} has no area; use one of {known}")

    def mask(size: tuple[int, int]) -> np.ndarray:
        height, width = size
        canvas = Image.new("1", (width, height))
        draw = ImageDraw.Draw(canvas)
        for part in parts:
            points = [tuple(point) for point in part["points"]]
            kind = part.get("shape_type", "polygon")
            if kind == "rectangle":
                (x0, y0), (x1, y1) = points
                draw.rectangle((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), fill=1)
            elif kind == "circle":
                (x, y), (edge_x, edge_y) = points
                radius = ((edge_x - x) ** 2 + (edge_y - y) ** 2) ** 0.5
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
            elif kind == "mask":
                inside = Image.open(io.BytesIO(base64.b64decode(part["mask"]))).point(lambda value: value and 255)
                canvas.paste(1, tuple(round(side) for side in points[0]), inside.convert("1"))
            else:
                draw.polygon(points, fill=1)
        return np.asarray(canvas)

    return mask
