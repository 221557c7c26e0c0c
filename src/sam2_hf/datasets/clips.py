"""Labelled clips: frames and the masks of the objects in them. A picture is a clip of one frame.

Nothing is decoded before it is asked for.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from sam2_hf.errors import SourceError
from sam2_hf.processing.picture_files import natural_order, read_ids, read_picture, size_in_header

VOID_VALUE = 255  # of palette files: pixels without truth


class LabelledClip(ABC):
    """Frames and the masks of the objects in them.

    Attributes:
        name: unique in its data set.
        labelled_frames: numbers of the frames that have a truth, ascending.
        object_names: object id to what the data set calls it, where it has a name.
    """

    name: str
    labelled_frames: tuple[int, ...]
    object_names: dict[int, str]

    @property
    @abstractmethod
    def num_frames(self) -> int:
        """Frames of the clip."""

    @property
    @abstractmethod
    def object_ids(self) -> tuple[int, ...]:
        """All objects of the clip, ascending."""

    @abstractmethod
    def frame(self, index: int) -> Image.Image:
        """A frame as an RGB picture."""

    @abstractmethod
    def masks(self, index: int) -> dict[int, np.ndarray]:
        """The mask of every object on a labelled frame, (height, width) bool, all zero where it is absent."""

    def void(self, index: int) -> np.ndarray | None:
        """Pixels of a labelled frame that have no truth, (height, width) bool; None where all have one."""
        return None

    def frame_name(self, index: int) -> str:
        """What the data set calls a frame."""
        return f"{index:05d}"

    def doubtful_frames(self) -> Iterator[int]:
        """Labelled frames whose files say in their headers that picture and mask differ in size, or cannot be read.

        Nothing is decoded for it. `masks` of such a frame raises the error, or shows that the header was wrong.
        """
        return iter(())

    @property
    def files(self) -> tuple[Path, ...]:
        """What it is read from; a change of one of them makes decoded frames outdated."""
        return ()

    @cached_property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames."""
        width, height = self.frame(0).size
        return height, width

    def check_labelled(self, index: int) -> None:
        """Raises `SourceError` for a frame without truth."""
        if index not in self.labelled_frames:
            raise SourceError(f"{self.name}: frame {index} has no truth; frames with one: {self.labelled_frames[:8]}")


class FrameFilesClip(LabelledClip):
    """Frames as picture files in order; what the truth is, is left open.

    Args:
        name: of the clip.
        frames: picture files.
    """

    def __init__(self, name: str, frames: Sequence[Path]):
        self.name, self.frames = name, list(frames)

    @property
    def num_frames(self) -> int:
        return len(self.frames)

    def frame(self, index: int) -> Image.Image:
        return read_picture(self.frames[index])

    def frame_name(self, index: int) -> str:
        return self.frames[index].stem

    @cached_property
    def _header_size(self) -> tuple[int, int] | None:
        return size_in_header(self.frames[0])

    def is_doubtful(self, mask: Path) -> bool:
        """Whether the header of a mask names another size than that of the first frame, or one of them none."""
        found = size_in_header(mask, upright=False)
        return found is None or found != self._header_size

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(self.frames)


class IdMapClip(FrameFilesClip):
    """Frames as picture files, truth as pictures of object ids.

    Args:
        name: of the clip.
        frames: picture files in order.
        truth: frame number to the file of its ids.
        void_value: value that means "no truth here"; None: it is an object like any other.
        binary: a file that holds only 0 and one other value is one object, number 1.
    """

    def __init__(
        self,
        name: str,
        frames: Sequence[Path],
        truth: dict[int, Path],
        *,
        void_value: int | None = VOID_VALUE,
        binary: bool = False,
    ):
        super().__init__(name, frames)
        self.truth = truth
        self.void_value, self.binary = void_value, binary
        self.labelled_frames = tuple(sorted(truth))
        self.object_names = {}

    @cached_property
    def object_ids(self) -> tuple[int, ...]:
        found: set[int] = set()
        for index in self.labelled_frames:
            found |= set(np.unique(self._ids(index)).tolist())
        return tuple(sorted(found - {0, self.void_value}))

    def masks(self, index: int) -> dict[int, np.ndarray]:
        self.check_labelled(index)
        ids = self._ids(index)
        return {key: ids == key for key in self.object_ids}

    def doubtful_frames(self) -> Iterator[int]:
        return (index for index, path in self.truth.items() if self.is_doubtful(path))

    @property
    def files(self) -> tuple[Path, ...]:
        return (*self.frames, *self.truth.values())

    def void(self, index: int) -> np.ndarray | None:
        if self.void_value is None:
            return None
        is_void = self._ids(index) == self.void_value
        return is_void if is_void.any() else None

    def _ids(self, index: int) -> np.ndarray:
        path = self.truth[index]
        ids = read_ids(path)
        if ids.shape != self.size:
            raise SourceError(
                f"{path}: the mask is (height, width) {ids.shape}, its picture {self.frames[index].name} is {self.size}"
            )
        return (ids > 0).astype(ids.dtype) if self.binary and len(np.unique(ids)) <= 2 else ids


class ObjectFoldersClip(FrameFilesClip):
    """Frames as picture files, truth as one black-and-white file per object and frame (SA-V validation and test).

    Objects overlap freely. A missing file means that the object is not on that frame; ids are folder numbers plus one.
    """

    def __init__(self, name: str, frames: Sequence[Path], folder: Path):
        super().__init__(name, frames)
        self.folder = folder
        folders = natural_order(path for path in folder.iterdir() if path.is_dir())
        self._folders = {_object_number(path) + 1: path for path in folders}
        self.object_names = {key: path.name for key, path in self._folders.items()}
        by_name = {path.stem: index for index, path in enumerate(self.frames)}
        labelled = {file.stem for path in self._folders.values() for file in path.glob("*.png")}
        if unknown := sorted(labelled - set(by_name)):
            raise SourceError(f"{folder}: {unknown[0]}.png belongs to no frame of {name}")
        self.labelled_frames = tuple(sorted(by_name[stem] for stem in labelled))

    @property
    def object_ids(self) -> tuple[int, ...]:
        return tuple(sorted(self._folders))

    def masks(self, index: int) -> dict[int, np.ndarray]:
        self.check_labelled(index)
        return {key: self._mask(path / f"{self.frame_name(index)}.png") for key, path in self._folders.items()}

    def doubtful_frames(self) -> Iterator[int]:
        for index in self.labelled_frames:
            files = (folder / f"{self.frame_name(index)}.png" for folder in self._folders.values())
            if any(file.exists() and self.is_doubtful(file) for file in files):
                yield index

    @property
    def files(self) -> tuple[Path, ...]:
        truth = (file for folder in self._folders.values() for file in natural_order(folder.glob("*.png")))
        return (*self.frames, *truth)

    def has_truth(self, object_id: int, index: int) -> bool:
        """Whether the object has a file of its own for this frame."""
        return (self._folders[object_id] / f"{self.frame_name(index)}.png").exists()

    def _mask(self, path: Path) -> np.ndarray:
        if not path.exists():
            return np.zeros(self.size, dtype=bool)
        mask = read_ids(path) > 0
        if mask.shape != self.size:
            raise SourceError(f"{path}: the mask is (height, width) {mask.shape}, the frames are {self.size}")
        return mask


class ArrayClip(LabelledClip):
    """A clip in memory.

    Args:
        frames: (height, width, 3) uint8, or pictures.
        masks: per frame, object id to (height, width) bool.
    """

    def __init__(self, name: str, frames: Sequence, masks: Sequence[dict[int, np.ndarray]]):
        self.name, self._frames, self._masks = name, frames, masks
        self.labelled_frames = tuple(range(len(masks)))
        self.object_names = {}

    @property
    def num_frames(self) -> int:
        return len(self._frames)

    @property
    def object_ids(self) -> tuple[int, ...]:
        return tuple(sorted({key for masks in self._masks for key in masks}))

    def frame(self, index: int) -> Image.Image:
        frame = self._frames[index]
        return frame.convert("RGB") if isinstance(frame, Image.Image) else Image.fromarray(np.asarray(frame), "RGB")

    def masks(self, index: int) -> dict[int, np.ndarray]:
        self.check_labelled(index)
        here = self._masks[index]
        for mask in here.values():
            if mask.shape != self.size:
                raise SourceError(f"{self.name}: a mask is (height, width) {mask.shape}, the frames are {self.size}")
        return {key: here.get(key, np.zeros(self.size, dtype=bool)) for key in self.object_ids}


def _object_number(path: Path) -> int:
    if not path.name.isdigit():
        raise SourceError(f"{path}: folders of objects are named by number, such as 000")
    return int(path.name)
