"""Data sets whose masks are in JSON files: COCO, SA-1B and SA-V."""

import os
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from sam2_hf.errors import ConfigError, SourceError
from sam2_hf.processing.picture_files import natural_order, pictures_in
from sam2_hf.processing.rle import decode_rle, polygons_to_mask
from sam2_hf.processing.video import frames_from
from sam2_hf.training.annotated_pictures import PictureClip, Shape, json_files, picture_of
from sam2_hf.training.annotation_files import Entry, rle_size, shown
from sam2_hf.training.formats import LabelledClip, ObjectFoldersClip, frame_folders

SAV_ANNOTATION_STRIDE = 4  # SA-V annotates every fourth of 24 frames a second
SAV_VARIANTS = ("manual", "auto")


class SavClip(LabelledClip):
    """A video of SA-V train: an mp4 and masklets of COCO run lengths on every fourth frame.

    Frames are the annotated ones; frames with a masklet that is null are left out.
    """

    def __init__(self, path: Path, annotation: Path):
        self.name, self.path, self.annotation = path.stem, path, annotation
        whole = Entry.of_file(annotation)
        masklets = whole.values_of("masklet")
        for number, objects in enumerate(masklets):
            if not isinstance(objects, list):
                raise whole.problem(
                    f"masklet[{number}] is {shown(objects)}, expected a list with a mask of each object"
                )
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
        number = self._masklets[index][0] * SAV_ANNOTATION_STRIDE
        if number >= len(self._video):
            raise SourceError(
                f"{self.path}: has {len(self._video)} frames, but {self.annotation.name} annotates {number}"
            )
        pixels = self._video[number]
        return Image.fromarray(pixels.permute(1, 2, 0).numpy())

    def frame_name(self, index: int) -> str:
        return f"{self._masklets[index][0] * SAV_ANNOTATION_STRIDE:05d}"

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path, self.annotation)

    def masks(self, index: int) -> dict[int, np.ndarray]:
        self.check_labelled(index)
        number, objects = self._masklets[index]
        return {key: self._mask(rle, f"masklet[{number}][{key - 1}]") for key, rle in enumerate(objects, 1)}

    def _mask(self, rle, place: str) -> np.ndarray:
        where = Entry({"mask": rle}, f"{self.annotation}: {place}")
        size = rle_size(rle, where)
        if size != self.size:
            raise where.problem(f"the mask is (height, width) {size}, the frames of {self.path.name} are {self.size}")
        try:
            return decode_rle(rle)
        except (ValueError, TypeError, OverflowError) as error:
            raise where.problem(str(error)) from error


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
    """COCO instances: polygons and run lengths. Pictures without annotations are left out.

    Args:
        annotations: JSON file below `root`; default: the only one there, also in `annotations/`.
        images: folder of pictures below `root`; default: `images`, or `root` itself.
        crowds: take regions of many objects (`iscrowd`) too.

    Raises:
        SourceError: a file or entry that cannot be meant, or a picture that is not below `root`.
    """
    file = _only_json(root) if annotations is None else root / annotations
    whole = Entry.of_file(file)
    folder = root / images if images else root / "images" if (root / "images").is_dir() else root
    categories = {one.key("id"): one.text("name") for one in whole.entries("categories", [])}
    by_image = _by_image(whole, crowds)
    clips: list[LabelledClip] = []
    seen: set[int | str] = set()
    for image in whole.entries("images"):
        name, image_id = image.text("file_name"), image.key("id")
        if image_id in seen:
            raise image.problem(f"another picture has the id {image_id!r} too")
        seen.add(image_id)
        path = picture_of(_below(name, folder, root, image), Path(), file)
        objects = dict(enumerate(by_image.get(image_id, []), 1))
        if objects:
            clip = PictureClip(
                name,
                path,
                {key: _coco_shape(one) for key, one in objects.items()},
                annotations=file,
                annotated_size=image.size("height", "width") or _size_of_masks(objects),
                object_names={key: categories.get(one.key("category_id", None), "") for key, one in objects.items()},
            )
            clips.append(clip)
    if by_image and not clips:
        first = next(iter(by_image))
        raise SourceError(
            f"{file}: no picture has annotations; `image_id` is {first!r}, ids are {sorted(map(repr, seen))[:5]}"
        )
    return clips


def open_sa1b(
    root: Path, *, max_area_fraction: float | None = None, min_uncertain_iou: float | None = None
) -> list[LabelledClip]:
    """SA-1B: `sa_<n>.jpg` and `sa_<n>.json` with run lengths. Empty masks are left out.

    Args:
        max_area_fraction: leave out masks that cover at least this share of the picture.
        min_uncertain_iou: leave out masks whose `uncertain_iou` is below this.

    Raises:
        SourceError: a file or entry that cannot be meant, or a file without its picture.
    """
    clips: list[LabelledClip] = []
    for file in json_files(root):
        path = file.with_suffix(".jpg")
        if not path.exists():
            raise SourceError(f"{path}: the picture of {file.name} is missing")
        whole, kept = Entry.of_file(file), []
        for annotation in whole.entries("annotations"):
            height, width = rle_size(annotation.get("segmentation", (dict,), "run lengths"), annotation)
            area = annotation.number("area")
            too_large = max_area_fraction is not None and area / (height * width) >= max_area_fraction
            too_vague = min_uncertain_iou is not None and annotation.number("uncertain_iou", 1.0) < min_uncertain_iou
            if area > 0 and not too_large and not too_vague:
                kept.append(annotation)
        if kept:
            objects = dict(enumerate(kept, 1))
            shapes = {key: _coco_shape(one) for key, one in objects.items()}
            size = _size_of_masks(objects)
            clips.append(PictureClip(file.stem, path, shapes, annotations=file, annotated_size=size))
    return clips


def _only_json(root: Path) -> Path:
    files = [*natural_order(root.glob("*.json")), *natural_order((root / "annotations").glob("*.json"))]
    if len(files) != 1:
        names = ", ".join(path.name for path in files) or "none"
        raise SourceError(f"{root}: expected one JSON file of annotations, found {names}; name it with `annotations`")
    return files[0]


def _by_image(whole: Entry, crowds: bool) -> dict[int | str, list[Entry]]:
    """Annotations that have a mask, by the picture they are of."""
    found: dict[int | str, list[Entry]] = {}
    for annotation in whole.entries("annotations"):
        image_id = annotation.key("image_id")
        if annotation.values.get("segmentation") and (crowds or not annotation.values.get("iscrowd")):
            found.setdefault(image_id, []).append(annotation)
    return found


def _below(name: str, folder: Path, root: Path, image: Entry) -> str:
    """The path of a picture, which must be below the root, also where it is written whole or with `..`.

    Links are not followed: a folder of pictures may be a link to another disk.
    """
    path = Path(os.path.abspath(folder / name))
    if not any(path.is_relative_to(base) for base in (Path(os.path.abspath(root)), root.resolve())):
        raise image.problem(f"'file_name' {name!r} leads out of {root}; pass the folder that holds all as the root")
    return os.path.normpath(folder / name)


def _size_of_masks(objects: dict[int, Entry]) -> tuple[int, int] | None:
    """The size of the first run-length mask; polygons have none."""
    masks = ((one, one.values["segmentation"]) for one in objects.values())
    return next((rle_size(mask, one) for one, mask in masks if isinstance(mask, dict)), None)


def _coco_shape(annotation: Entry) -> Shape:
    """Polygons or run lengths, compressed or not."""
    segmentation = annotation.get("segmentation", (list, dict), "polygons or run lengths")
    where = annotation.where
    own_size = rle_size(segmentation, annotation) if isinstance(segmentation, dict) else None

    def mask(size: tuple[int, int]) -> np.ndarray:
        if own_size is not None and own_size != tuple(size):  # before memory is taken for it
            raise SourceError(f"{where}: the mask is (height, width) {own_size}, its picture is {tuple(size)}")
        try:
            return polygons_to_mask(segmentation, size) if own_size is None else decode_rle(segmentation)
        except (ValueError, TypeError, OverflowError) as error:
            raise SourceError(f"{where}: {error}") from error

    return mask
