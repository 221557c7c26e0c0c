"""Masks of a video on disk, in the two layouts of the field, read.

DAVIS   <video>/<frame>.png              pixel value = object id, 0 = background; objects cannot overlap
SA-V    <video>/<object:03d>/<frame>.png   not 0 = inside; objects may overlap
"""

from pathlib import Path

import numpy as np
from PIL import Image

from sam2_hf.errors import SourceError
from sam2_hf.processing.pixels import open_picture

IDS = "ids.json"  # which id each number stands for, where they differ
VOID = 255  # of a palette file: pixels that count neither for nor against
ANNOTATION_FOLDERS = ("Annotations", "Annotations_6fps")
RESOLUTION_FOLDERS = ("480p", "Full-Resolution")


class PaletteMasks:
    """A video in the DAVIS layout; the last file read is kept."""

    def __init__(self, folder: Path, void: bool = True):
        self.folder = folder
        self.frames = _stems(folder)
        self._void = void
        self._last: tuple[str, np.ndarray, np.ndarray | None] | None = None

    def object_ids(self, frame: str) -> set[int]:
        """Objects that a frame shows."""
        return {int(value) for value in np.unique(self._read(frame)[0])} - {0}

    def mask(self, frame: str, object_id: int) -> np.ndarray:
        """(height, width) bool."""
        return self._read(frame)[0] == object_id

    def void(self, frame: str) -> np.ndarray | None:
        """(height, width) bool of pixels that do not count, or None."""
        return self._read(frame)[1]

    def _read(self, frame: str) -> tuple[np.ndarray, np.ndarray | None]:
        if self._last is None or self._last[0] != frame:
            picture = _open(self.folder, frame)
            ids = np.array(picture)
            if ids.ndim != 2:
                raise SourceError(f"{self.folder / frame}.png: object ids are one number per pixel, got {picture.mode}")
            void = ids == VOID if self._void and picture.mode == "P" and (ids == VOID).any() else None
            if void is not None:
                ids[void] = 0
            self._last = (frame, ids, void)
        return self._last[1:]


class ObjectMasks:
    """A video in the SA-V layout."""

    def __init__(self, folder: Path):
        self.folder = folder
        names = [entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name.isdigit()]
        self.objects = {int(name): folder / name for name in sorted(names, key=int)}

    def frames_of(self, object_id: int) -> list[str]:
        """Names of the frames that have a file for an object."""
        return _stems(self.objects[object_id])

    def mask(self, frame: str, object_id: int) -> np.ndarray:
        """(height, width) bool."""
        folder = self.objects.get(object_id, self.folder / f"{object_id:03d}")
        values = np.asarray(_open(folder, frame))
        if values.ndim != 2 or len(np.unique(values)) > 2:
            raise SourceError(f"{folder / frame}.png: holds more than two values; this layout has one object per file")
        return values > 0


def read_masks(folder: Path, void: bool = True) -> PaletteMasks | ObjectMasks:
    """A folder of masks in whichever layout it has: only PNGs is DAVIS, anything else SA-V."""
    return PaletteMasks(folder, void) if is_palette_folder(folder) else ObjectMasks(folder)


def is_palette_folder(folder: Path) -> bool:
    """Whether every entry is a PNG, apart from a list of ids."""
    entries = [entry.name for entry in folder.iterdir() if not entry.name.startswith(".") and entry.name != IDS]
    return all(name.endswith(".png") for name in entries)


def truth_folders(root: Path) -> dict[str, Path]:
    """Folder of masks of every video of a data set.

    Known are a folder of videos, a data set with `Annotations/<video>` (with a resolution in between, as DAVIS has it),
    and one with `<video>/Annotations`.

    Raises:
        SourceError: there is no video.
    """
    if not root.is_dir():
        raise SourceError(f"{root}: no such folder of masks")
    root = next((root / name for name in ANNOTATION_FOLDERS if (root / name).is_dir()), root)
    root = next((root / name for name in RESOLUTION_FOLDERS if (root / name).is_dir()), root)
    found = {entry.name: entry for entry in sorted(root.iterdir()) if entry.is_dir() and entry.name[0] not in "._"}
    nested = {name: entry / ANNOTATION_FOLDERS[0] for name, entry in found.items()}
    if any(entry.is_dir() for entry in nested.values()):
        found = {name: entry for name, entry in nested.items() if entry.is_dir()}
    if not found:
        raise SourceError(f"{root}: no folder of masks; expected <video>/<frame>.png or <video>/<object>/<frame>.png")
    return found


def _open(folder: Path, frame: str) -> Image.Image:
    path = folder / f"{frame}.png"
    if not path.is_file():
        raise SourceError(f"{path}: there is no mask for this frame")
    return open_picture(path)


def _stems(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.png") if not path.name.startswith("."))
