"""Frames of a video file by exact number, decoded when they are asked for, with PyAV.

The file is indexed once by its packets, without decoding. Reading goes on from where it stands if it can, and else
seeks to the key frame before. A frame that cannot be decoded is an error that names it, never the end of the video.
"""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from sam2_hf.errors import DecodeError, SourceError

STRICT = {"err_detect": "crccheck+bitstream+buffer+explode"}  # or decoders paint over what they cannot read
CAMERA_FORMATS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}"), "win32": ("dshow", "video={}")}


class VideoFileFrames:
    """Frames of one file; variable frame rate and rotation metadata are honoured.

    Attributes:
        size: (height, width) after rotation.
        fps: mean frames per second, or None if the file does not say.
    """

    def __init__(self, path: Path):
        self.path = path
        self._container, self._stream = _open(path)
        self._times = self._index()
        self.fps = None if self._stream.average_rate is None else float(self._stream.average_rate)
        self._decoder: Iterator[av.VideoFrame] = iter(())
        self._last: tuple[int, Tensor | None] = (-1, None)
        self._next = len(self._times)  # nothing is being read yet, so the first frame seeks
        self.size = tuple(self[0].shape[-2:])

    def __len__(self) -> int:
        return len(self._times)

    def __getitem__(self, index: int) -> Tensor:
        """(3, height, width) uint8."""
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} is not in {self.path} (0..{len(self) - 1})")
        if index != self._last[0]:  # a frame is often asked for twice, by the model and for drawing
            if index != self._next:
                self._seek(index)
            self._last = index, picture_of(self._decode(index))
            self._next = index + 1
        return self._last[1]

    def time(self, index: int) -> float:
        """Seconds from the first frame."""
        return float((self._times[index] - self._times[0]) * self._stream.time_base)

    def close(self) -> None:
        """Closes the file."""
        self._container.close()

    def _index(self) -> list[int]:
        """Time stamps of all frames in the order of presentation."""
        try:
            packets = [
                packet for packet in self._container.demux(self._stream) if packet.size and not packet.is_discard
            ]
        except av.FFmpegError as error:
            raise DecodeError(f"{self.path}: damaged or cut off ({error}); is the file complete?") from error
        times = [packet.pts for packet in packets if not packet.is_discard]
        if not times:
            raise SourceError(f"{self.path}: the video has no frames")
        if None in times:
            raise SourceError(f"{self.path}: frames have no time stamps; convert the file to mp4 or mkv")
        return sorted(times)

    def _seek(self, index: int) -> None:
        self._container.seek(self._times[index], stream=self._stream, backward=True, any_frame=False)
        self._decoder = self._container.decode(self._stream)

    def _decode(self, index: int) -> av.VideoFrame:
        """Decodes up to a frame. What comes after it instead of it means that it is broken."""
        wanted = self._times[index]
        problem = "the data ends before it"
        try:
            for frame in self._decoder:
                if frame.pts == wanted and not frame.is_corrupt:
                    return frame
                if frame.pts is not None and frame.pts >= wanted:
                    problem = "its data is damaged"
                    break
        except av.FFmpegError as error:
            problem = str(error)
        self._next = len(self)
        raise DecodeError(f"{self.path}: frame {index} cannot be decoded ({problem}); repair or cut the file")


def picture_of(frame: av.VideoFrame) -> Tensor:
    """(3, height, width) uint8, turned as the metadata says."""
    turns = round(frame.rotation / 90)  # counter-clockwise
    pixels = np.rot90(frame.to_ndarray(format="rgb24"), turns)
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)


def live_frames(address: str, file_format: str | None = None) -> Iterator[Tensor]:
    """Frames of a network stream or device as they come, until it ends.

    Raises:
        SourceError: it cannot be opened.
    """
    container, stream = _open(address, file_format)
    try:
        for frame in container.decode(stream):
            yield picture_of(frame)
    finally:
        container.close()


def camera_frames(number: int) -> Iterator[Tensor]:
    """Frames of a camera of this machine."""
    import sys

    if sys.platform not in CAMERA_FORMATS:
        raise SourceError(f"cameras are not known on {sys.platform}; pass an iterator of pictures")
    file_format, name = CAMERA_FORMATS[sys.platform]
    return live_frames(name.format(number), file_format)


def _open(source: str | Path, file_format: str | None = None):
    try:
        container = av.open(str(source), format=file_format)
    except (av.FFmpegError, OSError) as error:
        raise DecodeError(f"{source}: cannot be opened as a video ({error})") from error
    if not container.streams.video:
        container.close()
        raise SourceError(f"{source}: there is no video in this file")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    stream.codec_context.options = STRICT
    return container, stream
