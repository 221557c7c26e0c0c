"""Picture files on disk: pictures, pictures of object ids, and their order."""

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from sam2_hf.errors import DecodeError, SourceError
from sam2_hf.processing.natural_order import natural_key
from sam2_hf.processing.pixels import open_picture
from sam2_hf.processing.video import PICTURE_SUFFIXES

LOSSY_FORMATS = ("JPEG", "MPO")
QUARTER_TURNS = (5, 6, 7, 8)  # of EXIF orientations
JPEG_NOISE = 48  # how far black and white may be off around an edge
DARKEST_WHITE = 128  # of masks with soft edges
MOST_GREY = 0.25  # of the pixels of a mask, at its edges


def read_picture(path: Path) -> Image.Image:
    """A picture file as RGB, turned upright; `DecodeError` or `SourceError` if it cannot be read."""
    return open_picture(path).convert("RGB")


def is_turned(path: Path) -> bool:
    """Whether a picture's EXIF data turns it by a quarter, so that its sides are swapped when it is opened."""
    with Image.open(path) as picture:
        return picture.getexif().get(ExifTags.Base.Orientation) in QUARTER_TURNS


def size_in_header(path: Path, upright: bool = True) -> tuple[int, int] | None:
    """(height, width) of a picture file as its header says, without decoding it; None where that cannot be read.

    Args:
        upright: turned as its EXIF data says, where that stands before the pixels.
    """
    try:
        with Image.open(path) as picture:
            is_known = picture.format != "PNG" or "exif" in picture.info  # a PNG would be decoded to look for it
            has_turned = upright and is_known and picture.getexif().get(ExifTags.Base.Orientation) in QUARTER_TURNS
            return picture.size if has_turned else picture.size[::-1]
    except Exception:  # each format of Pillow raises its own kinds for damaged data
        return None


def read_ids(path: Path) -> np.ndarray:
    """Object ids of a palette, grey (8 or 16 bit) or black-and-white picture, (height, width).

    Raises:
        SourceError: there is no such file, or it is a colour picture, which holds no ids, or a JPEG, whose numbers are
            not those that were written: but one of black and white is read as such.
        DecodeError: it is damaged.
    """
    try:
        with Image.open(path) as image:
            image.load()
            mode, values, is_lossy = image.mode, np.asarray(image), image.format in LOSSY_FORMATS
    except FileNotFoundError as error:
        raise SourceError(f"{path}: there is no such file") from error
    except OSError as error:
        raise DecodeError(f"{path}: cannot be read as a picture ({error})") from error
    if mode in ("RGB", "RGBA") and (values[..., :1] == values[..., :3]).all():
        mode, values = "L", values[..., 0]
    if is_lossy and mode == "L":
        return _black_and_white(path, values)
    if mode not in ("1", "L", "P", "I", "I;16"):
        raise SourceError(f"{path}: a mask holds ids (palette or grey), this is a picture of mode {mode}")
    return values.astype(np.int32) if mode.startswith("I") else values.astype(np.uint8)


def read_binary_mask(path: str | Path) -> np.ndarray:
    """One mask in a picture file or behind an address, (height, width) bool.

    Of one number, or of two with 0, what is not 0 is inside; of grey pictures with soft edges what is brighter than
    half.

    Raises:
        SourceError: there is no such file, or it shows colours, several objects by their numbers, or a grey scene.
        DecodeError: it is damaged.
    """
    picture = open_picture(path)
    has_numbers = picture.mode in ("P", "1", "L", "I", "I;16")
    values = np.asarray(picture if has_numbers else picture.convert("RGB"))
    if values.ndim == 3:
        spread = values.astype(int).max(axis=2) - values.min(axis=2)
        if spread.max(initial=0) > JPEG_NOISE:
            raise SourceError(f"{path}: a mask is black and white, this is a colour picture")
        values = values[..., 0]
    found = np.unique(values)
    if len(found) < 2 or (len(found) == 2 and found[0] == 0):
        return values > 0
    if picture.mode == "P" or found[-1] < DARKEST_WHITE:
        numbers = ", ".join(map(str, found[found != 0][:4].tolist())) + (", ..." if (found != 0).sum() > 4 else "")
        raise SourceError(f"{path}: a mask shows one object, this is a picture of the numbers {numbers}")
    noise = JPEG_NOISE / 255 * float(found[-1])
    if np.mean((values > noise) & (values < found[-1] - noise)) > MOST_GREY:
        raise SourceError(f"{path}: a mask is black and white, this is a grey picture")
    return values >= found[-1] / 2


def _black_and_white(path: Path, values: np.ndarray) -> np.ndarray:
    """0 and 255 of a JPEG that shows nothing else, but for its noise."""
    is_white = values >= 255 - JPEG_NOISE
    if not (is_white | (values <= JPEG_NOISE)).all() or (values.any() and not is_white.any()):
        raise SourceError(f"{path}: a JPEG does not keep the numbers of objects; save masks as PNG")
    return np.where(values > 127, 255, 0).astype(np.uint8)


def pictures_in(folder: Path, deep: bool = False) -> list[Path]:
    """Picture files of a folder in natural order, hidden ones left out."""
    found = folder.rglob("*") if deep else folder.iterdir()
    return natural_order(
        path for path in found if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")
    )


def natural_order(paths) -> list[Path]:
    """Paths with 2 before 10."""
    return sorted(paths, key=lambda path: natural_key(path.as_posix()))
