"""Pictures whose masks are made from annotations, which hold for one size of the picture only."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from sam2_hf.datasets.annotation_files import Entry, rle_size
from sam2_hf.datasets.clips import LabelledClip
from sam2_hf.errors import SourceError
from sam2_hf.processing.picture_files import is_turned, natural_order, read_picture, size_in_header
from sam2_hf.processing.rle import decode_rle, polygons_to_mask

Shape = Callable[[tuple[int, int]], np.ndarray]


class PictureClip(LabelledClip):
    """A picture with masks that are made from its annotations when they are asked for.

    Args:
        name: unique in its data set.
        path: the picture.
        shapes: object id to a function of (height, width) that returns the mask.
        annotations: the file they are from.
        annotated_size: (height, width) that the annotations were made at; None: the file does not say.
        object_names: object id to its category.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        shapes: dict[int, Shape],
        *,
        annotations: Path,
        annotated_size: tuple[int, int] | None = None,
        object_names: dict[int, str] | None = None,
    ):
        self.name, self.path, self.shapes = name, path, shapes
        self.annotations, self.annotated_size = annotations, annotated_size
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

    def doubtful_frames(self) -> Iterator[int]:
        found = size_in_header(self.path)
        if found is None or (self.annotated_size is not None and found != self.annotated_size):
            yield 0

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path, self.annotations)

    def masks(self, index: int) -> dict[int, np.ndarray]:
        """As of every clip.

        Raises:
            SourceError: the picture has another size than the annotations were made at, or one of them is broken.
        """
        self.check_labelled(index)
        if self.annotated_size is not None:
            check_same_size(self.path, self.size, self.annotated_size, self.annotations)
        masks = {key: shape(self.size) for key, shape in self.shapes.items()}
        for mask in masks.values():
            check_same_size(self.path, self.size, mask.shape, self.annotations)
        return masks


def check_same_size(picture: Path, size: tuple[int, int], annotated: tuple[int, int], annotations: Path) -> None:
    """Refuses a picture of another size than its annotations were made at: they would lie beside the objects.

    Args:
        size: (height, width) of the picture, turned upright.
        annotated: (height, width) that the annotations are for.

    Raises:
        SourceError: they differ; the message says whether the annotations were made before the picture was turned.
    """
    if tuple(size) == tuple(annotated):
        return
    found = f"{picture}: is {size[0]} x {size[1]} (height x width), but {annotations.name} annotates {annotated[0]} x "
    found += f"{annotated[1]}"
    if tuple(size) != tuple(annotated)[::-1]:
        raise SourceError(f"{found}; use the picture that was annotated, or scale its annotations with their size")
    if is_turned(picture):
        raise SourceError(
            f"{found}: the picture before its EXIF orientation turns it upright; annotate the upright picture, or "
            "take the orientation out of the file"
        )
    raise SourceError(f"{found}: the sides are swapped; turn the picture back, or correct the annotations")


def picture_of(name: str, folder: Path, annotations: Path) -> Path:
    """A picture that a file of annotations names.

    Raises:
        SourceError: there is no such file.
    """
    path = folder / name
    if not path.is_file():
        raise SourceError(f"{path}: named in {annotations.name}, but there is no such file")
    return path


def json_files(root: Path) -> list[Path]:
    """All JSON files below a folder, 2 before 10."""
    return natural_order(root.rglob("*.json"))


def size_of_masks(objects: dict[int, Entry]) -> tuple[int, int] | None:
    """The size of the first run-length mask; polygons have none."""
    masks = ((one, one.values["segmentation"]) for one in objects.values())
    return next((rle_size(mask, one) for one, mask in masks if isinstance(mask, dict)), None)


def coco_shape(annotation: Entry) -> Shape:
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
