"""Sinks that write the masks of a video as PNG files, one or more per frame; a frame that comes again is replaced."""

import json
from collections.abc import Hashable
from pathlib import Path

import numpy as np

from sam2_hf.datasets.mask_folders import IDS
from sam2_hf.datasets.mask_writers import lowest_on_top, write_ids_picture, write_mask_picture
from sam2_hf.disk.whole import write_whole
from sam2_hf.pipelines.video import VideoFrameResult
from sam2_hf.pipelines.writing.missing_frames import MissingFrame
from sam2_hf.processing.id_pictures import MAX_SHORT_ID, draw_ids

DAVIS_NUMBERS = 254  # 0 is the background, and 255 marks pixels that do not count


class ObjectNumbers:
    """Numbers of objects for files: whole ids from 1 are their own, others get free numbers as they appear.

    Args:
        largest: that the file can hold; None for any.
        what: kind of the file, for the error.
    """

    def __init__(self, largest: int | None = None, what: str = "file"):
        self.largest, self.what = largest, what
        self._numbers: dict[Hashable, int] = {}
        self._taken: set[int] = set()
        self._lowest_free = 1

    def __getitem__(self, object_id: Hashable) -> int:
        if object_id not in self._numbers:
            self._numbers[object_id] = number = self._new(object_id)
            self._taken.add(number)
        return self._numbers[object_id]

    def __iter__(self):
        return iter(self._taken)

    @property
    def renamed(self) -> dict[int, Hashable]:
        """Id by number, of all objects if one of them is not called by its number; else empty."""
        if all(_is_number(key) and key == number for key, number in self._numbers.items()):
            return {}
        return {number: key for key, number in self._numbers.items()}

    def _new(self, object_id: Hashable) -> int:
        if _is_number(object_id) and object_id not in self._taken and object_id <= (self.largest or object_id):
            return object_id
        while self._lowest_free in self._taken:
            self._lowest_free += 1
        if self.largest is not None and self._lowest_free > self.largest:
            raise ValueError(f"a {self.what} has {self.largest} object numbers, there are more objects")
        return self._lowest_free


class _PngFolder:
    """Numbers, files and their list of ids."""

    def __init__(self, folder: str | Path, largest: int | None, what: str):
        self.folder = self.path = Path(folder)
        self.numbers = ObjectNumbers(largest, what)

    def skip(self, frame: MissingFrame) -> None:
        """A frame that cannot be read has no file: zeros would say that nothing is there."""

    def close(self) -> None:
        """Writes `ids.json`, number to id, if objects are not called by their numbers."""
        write_ids(self.folder / IDS, self.numbers.renamed)


class DavisPngs(_PngFolder):
    """Object numbers as palette PNGs, `00000.png` and so on, 0 for the background; the lowest number is on top."""

    def __init__(self, folder: str | Path):
        super().__init__(folder, DAVIS_NUMBERS, "palette")

    def write(self, result: VideoFrameResult) -> None:
        masks = {self.numbers[object_id]: mask for object_id, mask in zip(result.object_ids, result.masks, strict=True)}
        write_ids_picture(self.folder / f"{result.frame:05d}.png", lowest_on_top(masks, result.size))


class IndexPngs(_PngFolder):
    """As `DavisPngs`, but the smaller object is on top, and numbers above 255 make 16-bit files without a palette."""

    def __init__(self, folder: str | Path):
        super().__init__(folder, MAX_SHORT_ID, "16-bit picture")

    def write(self, result: VideoFrameResult) -> None:
        numbers = [self.numbers[object_id] for object_id in result.object_ids]
        order = np.argsort(-result.areas, kind="stable").tolist()
        pixels = draw_ids(((numbers[row], result.masks[row]) for row in order), result.size)
        write_ids_picture(self.folder / f"{result.frame:05d}.png", pixels)


class SavPngs(_PngFolder):
    """One folder per object, `001/00000.png` and so on, values 0 and 1; objects may overlap.

    Every object has a file for every frame that can be read: zeros where it is not listed, also before it joined.
    """

    def __init__(self, folder: str | Path):
        super().__init__(folder, None, "folder")
        self._frames: dict[int, None] = {}

    def write(self, result: VideoFrameResult) -> None:
        nothing = np.zeros(result.size, dtype=bool)
        known = set(self.numbers)
        shown = {self.numbers[object_id]: row for row, object_id in enumerate(result.object_ids)}
        for number in sorted(set(shown) - known):
            for frame in self._frames:
                self._save(number, frame, nothing)
        self._frames[result.frame] = None
        for number in sorted(self.numbers):
            self._save(number, result.frame, result.masks[shown[number]] if number in shown else nothing)

    def _save(self, number: int, frame: int, mask: np.ndarray) -> None:
        write_mask_picture(self.folder / f"{number:03d}" / f"{frame:05d}.png", mask)


def write_ids(path: Path, names: dict[int, Hashable]) -> None:
    """Writes number to id as JSON; a file of an earlier run goes if there is nothing to say."""
    if names:
        text = json.dumps({number: str(object_id) for number, object_id in sorted(names.items())})
        write_whole(path, text.encode(), overwrite=True)
    else:
        path.unlink(missing_ok=True)


def _is_number(object_id: Hashable) -> bool:
    return isinstance(object_id, int) and not isinstance(object_id, bool) and object_id >= 1
