"""Masks of a video on disk, in the two layouts of the field, written; `sam2_hf.datasets.mask_folders` reads them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from sam2_hf.disk.whole import write_whole
from sam2_hf.pipelines.writing.exports import png_bytes
from sam2_hf.pipelines.writing.mask_files import davis_palette

PALETTE_IDS = 255  # objects that an 8-bit file has numbers for


def pack(masks: Mapping[int, np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Object ids (height, width) from masks by id; where masks overlap the lowest id wins."""
    is_wide = max(masks, default=0) > PALETTE_IDS
    ids = np.zeros(size, dtype=np.uint16 if is_wide else np.uint8)
    for object_id in sorted(masks, reverse=True):
        ids[masks[object_id]] = object_id
    return ids


class PaletteWriter:
    """Writes the DAVIS layout; ids above 255 make 16-bit files without a palette.

    Args:
        palette: 256 colours; default: that of DAVIS.
    """

    def __init__(self, folder: Path, size: tuple[int, int], palette: Sequence[int] | None = None):
        self.folder, self.size = folder, size
        self._palette = davis_palette() if palette is None else palette
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, frame: str, masks: Mapping[int, np.ndarray]) -> None:
        """One frame; objects that are not given are not on it."""
        image = Image.fromarray(pack(masks, self.size))
        if image.mode == "L":
            image.putpalette(self._palette)
        write_whole(self.folder / f"{frame}.png", png_bytes(image), overwrite=True)


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
            mask = masks.get(object_id, self._nothing)
            picture = png_bytes(Image.fromarray(mask.astype(np.uint8)))
            write_whole(folder / f"{frame}.png", picture, overwrite=True)
