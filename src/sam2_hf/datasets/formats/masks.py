"""Pictures with files of masks."""

from pathlib import Path

from sam2_hf.datasets.clips import IdMapClip, LabelledClip
from sam2_hf.datasets.registry import dataset_format
from sam2_hf.errors import SourceError
from sam2_hf.processing.picture_files import pictures_in

MASK_MARK = ".mask"  # NAME.mask.png holds the object ids of NAME.jpg


@dataset_format("masks")
def open_masks(root: Path, *, images: str = "images", masks: str = "masks", binary: bool = True) -> list[LabelledClip]:
    """Pictures with instance ids or black-and-white masks: `NAME.mask.png` beside `NAME.jpg`, in any sub-folder, or
    `images/NAME.jpg` and `masks/NAME.png`.

    Raises:
        SourceError: a picture without a mask, or a mask without a picture.
    """
    if (root / images).is_dir() and (root / masks).is_dir():
        pictures, truth = pictures_in(root / images, deep=True), {}
        for path in pictures_in(root / masks, deep=True):
            truth[path.relative_to(root / masks).with_suffix("")] = path
        names = {path.relative_to(root / images).with_suffix(""): path for path in pictures}
    else:
        pictures = pictures_in(root, deep=True)
        truth = {
            path.relative_to(root).with_suffix("").with_suffix(""): path
            for path in pictures
            if path.stem.endswith(MASK_MARK)
        }
        names = {path.relative_to(root).with_suffix(""): path for path in pictures if not path.stem.endswith(MASK_MARK)}
    for missing in sorted(set(names) - set(truth)):
        raise SourceError(f"{names[missing]}: has no mask; expected {missing}{MASK_MARK}.png, or {masks}/{missing}.png")
    for missing in sorted(set(truth) - set(names)):
        raise SourceError(f"{truth[missing]}: has no picture of that name")
    return [
        IdMapClip(name.as_posix(), [path], {0: truth[name]}, void_value=None, binary=binary)
        for name, path in names.items()
    ]
