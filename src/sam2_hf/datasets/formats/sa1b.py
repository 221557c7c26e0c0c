"""SA-1B."""

from pathlib import Path

from sam2_hf.datasets.annotated_pictures import PictureClip, coco_shape, json_files, size_of_masks
from sam2_hf.datasets.annotation_files import Entry, rle_size
from sam2_hf.datasets.clips import LabelledClip
from sam2_hf.datasets.registry import dataset_format
from sam2_hf.errors import SourceError


@dataset_format("sa1b")
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
            shapes = {key: coco_shape(one) for key, one in objects.items()}
            size = size_of_masks(objects)
            clips.append(PictureClip(file.stem, path, shapes, annotations=file, annotated_size=size))
    return clips
