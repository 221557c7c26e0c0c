"""COCO instances."""

import os
from pathlib import Path

from sam2_hf.datasets.annotated_pictures import PictureClip, coco_shape, picture_of, size_of_masks
from sam2_hf.datasets.annotation_files import Entry
from sam2_hf.datasets.clips import LabelledClip
from sam2_hf.datasets.registry import dataset_format
from sam2_hf.errors import SourceError
from sam2_hf.processing.picture_files import natural_order


@dataset_format("coco")
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
                {key: coco_shape(one) for key, one in objects.items()},
                annotations=file,
                annotated_size=image.size("height", "width") or size_of_masks(objects),
                object_names={key: categories.get(one.key("category_id", None), "") for key, one in objects.items()},
            )
            clips.append(clip)
    if by_image and not clips:
        first = next(iter(by_image))
        raise SourceError(
            f"{file}: no picture has annotations; `image_id` is {first!r}, ids are {sorted(map(repr, seen))[:5]}"
        )
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
