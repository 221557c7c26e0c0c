"""Picture files on disk: pictures, pictures of object ids, and their order."""

from pathlib import Path

import numpy as np
from PIL import Image

from sam2_hf.errors import DecodeError, SourceError
from sam2_hf.processing.pixels import open_picture
from sam2_hf.processing.video import PICTURE_SUFFIXES, natural_key


def read_picture(path: Path) -> Image.Image:
    """A picture file as RGB, turned upright; `DecodeError` or `SourceError` if it cannot be read."""
    return open_picture(path).convert("RGB")


def read_ids(path: Path) -> np.ndarray:
    """Object ids of a palette, grey (8 or 16 bit) or black-and-white picture, (height, width).

    Raises:
        SourceError: there is no such file, or it is a colour picture, which holds no ids.
        DecodeError: it is damaged.
    """
    try:
        with Image.open(path) as image:
            image.load()
            mode, values = image.mode, np.asarray(image)
    except FileNotFoundError as error:
        raise SourceError(f"{path}: there is no such file") from error
    except OSError as error:
        raise DecodeError(f"{path}: cannot be read as a picture ({error})") from error
    if mode in ("RGB", "RGBA") and (values[..., :1] == values[..., :3]).all():
        return values[..., 0]
    if mode not in ("1", "L", "P", "I", "I;16"):
        raise SourceError(f"{path}: a mask holds ids (palette or grey), this is a picture of mode {mode}")
    return values.astype(np.int32) if mode.startswith("I") else values.astype(np.uint8)


def pictures_in(folder: Path, deep: bool = False) -> list[Path]:
    """Picture files of a folder in natural order, hidden ones left out."""
    found = folder.rglob("*") if deep else folder.iterdir()
    return natural_order(
        path for path in found if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")
    )


def natural_order(paths) -> list[Path]:
    """Paths with 2 before 10."""
    return sorted(paths, key=lambda path: natural_key(path.as_posix()))
