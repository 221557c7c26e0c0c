"""Frames from anything that holds a video, as one kind of sequence: pictures by number, read when asked for."""

import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from sam2_hf.errors import DecodeError, SourceError
from sam2_hf.processing.natural_order import natural_key
from sam2_hf.processing.pixels import size_of, to_pixels
from sam2_hf.processing.video_file import VideoFileFrames, camera_frames, live_frames

STACK_SUFFIXES = (".tif", ".tiff", ".webp")  # pictures that may have several pages
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


class FrameSource(Protocol):
    """Frames by number.

    Attributes:
        size: (height, width) of every frame, after rotation.
        fps: mean frames per second, or None.
    """

    @property
    def size(self) -> tuple[int, int]: ...

    @property
    def fps(self) -> float | None: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Tensor:
        """(3, height, width), uint8 or float in [0, 1]."""


class PictureFrames:
    """Frames that are pictures: arrays, tensors, PIL images or paths."""

    fps: float | None = None

    def __init__(self, pictures: Sequence | np.ndarray | Tensor):
        if not len(pictures):
            raise SourceError("the video has no frames")
        self._pictures = pictures
        self._last: tuple[int, Tensor] = (0, to_pixels(pictures[0]))
        self.size = size_of(self._last[1])

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Tensor:
        if index != self._last[0]:  # a frame is asked for twice, by the model and for drawing
            pixels = to_pixels(self._pictures[index])
            if size_of(pixels) != self.size:
                raise SourceError(f"frame {index} is (height, width) {size_of(pixels)}, the first is {self.size}")
            self._last = index, pixels
        return self._last[1]


class StackFrames:
    """Frames of one picture file with several pages or an animation: TIFF, WebP.

    Attributes:
        size: (height, width) of every frame.
    """

    fps: float | None = None

    def __init__(self, path: Path):
        self.path = path
        try:
            self._picture = Image.open(path)
        except (OSError, SyntaxError, ValueError) as error:
            raise DecodeError(f"{path}: not a readable picture ({error}); is the file complete?") from error
        weakref.finalize(self, self._picture.close)
        self._length = getattr(self._picture, "n_frames", 1)
        self._last: tuple[int, Tensor] = (0, self._page(0))
        self.size = size_of(self._last[1])

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Tensor:
        """(3, height, width), uint8 or float in [0, 1]."""
        if not 0 <= index < self._length:
            raise IndexError(f"frame {index} is not in {self.path} (0..{self._length - 1})")
        if index != self._last[0]:
            pixels = self._page(index)
            if size_of(pixels) != self.size:
                found = size_of(pixels)
                raise SourceError(f"{self.path}: frame {index} is (height, width) {found}, the first is {self.size}")
            self._last = index, pixels
        return self._last[1]

    def _page(self, index: int) -> Tensor:
        try:
            self._picture.seek(index)
            return to_pixels(ImageOps.exif_transpose(self._picture))
        except (OSError, EOFError, SyntaxError, ValueError) as error:
            raise DecodeError(f"{self.path}: frame {index} cannot be decoded ({error})") from error


class SampledFrames:
    """Every so many frames of another source.

    Args:
        end: frames of the source from here on are left out.
        stride: distance between the frames that stay, the first of which is frame 0.
        path: of the source, if it has one.
    """

    def __init__(self, source: FrameSource, *, end: int | None = None, stride: int = 1, path: str | Path | None = None):
        self._source, self._stride, self.path = source, stride, path
        self._length = len(range(0, len(source) if end is None else min(end, len(source)), stride))
        self.size = source.size
        self.fps = None if source.fps is None else source.fps / stride

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Tensor:
        if not 0 <= index < self._length:
            raise IndexError(f"frame {index} is not among the {self._length} that are looked at")
        return self._source[index * self._stride]

    def time(self, index: int) -> float:
        """Seconds from the first frame, nan if the source has no time."""
        time_of = getattr(self._source, "time", None)
        return float("nan") if time_of is None else time_of(index * self._stride)


def folder_frames(folder: Path) -> PictureFrames:
    """Pictures of a folder in natural order (2 before 10), whatever their names."""
    pictures = [
        path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")
    ]
    if not pictures:
        raise SourceError(f"{folder}: no pictures in this folder; frames may be {', '.join(PICTURE_SUFFIXES)}")
    return PictureFrames(sorted(pictures, key=lambda path: natural_key(path.name)))


def frames_from(video) -> FrameSource:
    """A frame source from a path, a folder, or a list, array or tensor of frames; a source is returned as it is.

    Raises:
        SourceError: it cannot be read as a video.
    """
    if isinstance(video, (PictureFrames, StackFrames, VideoFileFrames, SampledFrames)):
        return video
    if isinstance(video, (str, Path)):
        path = Path(video)
        if path.is_dir():
            return folder_frames(path)
        if not path.is_file():
            raise SourceError(f"{path}: no such video file or folder")
        return StackFrames(path) if path.suffix.lower() in STACK_SUFFIXES else VideoFileFrames(path)
    if isinstance(video, (list, tuple)):
        return PictureFrames(video)
    if isinstance(video, (np.ndarray, Tensor)):
        if video.ndim != 4:
            raise SourceError(f"a video is an array (frames, height, width, 3), got shape {tuple(video.shape)}")
        return PictureFrames(video)
    raise SourceError(f"a video cannot be a {type(video).__name__}; pass a path, a folder, a list or an array")


def stream_from(video) -> Iterator | None:
    """Frames as they come from an iterator, a camera number or a network address; None for what has a length."""
    if isinstance(video, int) and not isinstance(video, bool):
        return camera_frames(video)
    if isinstance(video, str) and "://" in video:
        return live_frames(video)
    if isinstance(video, Iterator):
        return video
    return None
