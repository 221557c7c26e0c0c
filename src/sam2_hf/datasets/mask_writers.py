"""Masks of a video on disk, in the two layouts of the field, written; `mask_folders` reads them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from sam2_hf.disk.whole import write_whole
from sam2_hf.processing.id_pictures import draw_ids, id_image, png_bytes


def write_ids_picture(path: Path, pixels: np.ndarray, palette: Sequence[int] | None = None) -> None:
    """Writes numbers (height, width) as PNG, with a palette if they have 8 bits; see `id_image`."""
    write_whole(path, png_bytes(id_image(pixels, palette)), overwrite=True)


def write_mask_picture(path: Path, mask: np.ndarray) -> None:
    """Writes a mask (height, width) as PNG with values 0 and 1."""
    write_whole(path, png_bytes(Image.fromarray(mask.astype(np.uint8))), overwrite=True)


def lowest_on_top(masks: Mapping[int, np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Numbers (height, width) from masks by number; where masks overlap the lowest number wins, as DAVIS has it."""
    return draw_ids(sorted(masks.items(), key=lambda pair: -pair[0]), size)


class PaletteWriter:
    """Writes the DAVIS layout; ids above 255 make 16-bit files without a palette.

    Args:
        palette: 256 colours; default: that of DAVIS.
    """

    def __init__(self, folder: Path, size: tuple[int, int], palette: Sequence[int] | None = None):
        self.folder, self.size, self._palette = folder, size, palette
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, frame: str, masks: Mapping[int, np.ndarray]) -> None:
        """One frame; objects that are not given are not on it."""
        write_ids_picture(self.folder / f"{frame}.png", lowest_on_top(masks, self.size), self._palette)


class ObjectWriter:
    """Writes the SA-V layout, values 0 and 1.

    Args:
        names: object id to the name of its folder; every object gets a file on every frame.
    """

    def __init__(self, folder: Path, size: tuple[int, int], names: Mapping[int, str]):
        self._folders = {object_id: folder / name for object_id, name in names.items()}
        self._nothing = np.zeros(size, dtype=bool)
        for own in self._folders.values():
            own.mkdir(parents=True, exist_ok=True)

    def write(self, frame: str, masks: Mapping[int, np.ndarray]) -> None:
        """One frame; objects that are not given are not on it."""
        for object_id, folder in self._folders.items():
            write_mask_picture(folder / f"{frame}.png", masks.get(object_id, self._nothing))
