"""Frames of a video file by exact number, decoded when they are asked for, with PyAV.

The file is indexed once by its packets, without decoding. Reading goes on from where it stands if it can, and else
seeks to the key frame before. A frame that cannot be decoded is an error that names it, never the end of the video; and
so is every frame that is drawn from it, of which decoders give a picture that is not the frame's. Frames that a damaged
Matroska, WebM or MPEG-TS file has lost keep their numbers and are such errors too.
"""

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from sam2_hf.errors import DecodeError, SourceError
from sam2_hf.processing.container_damage import damaged_parts
from sam2_hf.processing.packets import Packet, Packets
from sam2_hf.processing.pixels import size_of

STRICT = {"err_detect": "crccheck+bitstream+buffer+explode"}  # or decoders paint over what they cannot read
FARTHER_BACK = 60  # frames before the wanted one at which a second seek aims
FRAMES_COMPARED = 8
FRAMES_SHORT = 2.5  # a video that ends so many frames before its header says is told of
SPREAD = ("mpegts",)  # formats whose packets lie between those of other streams, in pieces
GUESSED_TIMES = ("mpeg", "mpegvideo")  # program streams, where times after a seek are estimates
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
        self._problem = ""
        self._is_counted = False  # whether frames are told by their number, because their time stamps are no use
        self._packets = Packets(())  # none where frames are counted
        self._spoilt: dict[int, str] = {}  # from time stamps to reasons
        self._has_errors = False
        self._checked: set[tuple[int, int]] = set()
        self._times = self._index()
        self.fps = None if self._stream.average_rate is None else float(self._stream.average_rate)
        self._last: tuple[int, Tensor] | None = None
        self._next = 0
        self.size = self._first_size()

    def __len__(self) -> int:
        return len(self._times)

    def __getitem__(self, index: int) -> Tensor:
        """(3, height, width) uint8."""
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} is not in {self.path} (0..{len(self) - 1})")
        picture = self._picture(index)
        if size_of(picture) != self.size:
            raise SourceError(
                f"{self.path}: frame {index} is (height, width) {size_of(picture)}, the first is {self.size}; "
                "cut the video where its size changes"
            )
        return picture

    def _picture(self, index: int) -> Tensor:
        if self._last is None or index != self._last[0]:  # often asked for twice, by the model and for drawing
            picture = picture_of(self._frame(index))
            self._next = index + 1
            self._last = index, picture
        return self._last[1]

    def time(self, index: int) -> float:
        """Seconds from the first frame."""
        if self._is_counted:
            return index / self.fps if self.fps else float("nan")
        return float((self._times[index] - self._times[0]) * self._stream.time_base)

    def close(self) -> None:
        """Closes the file."""
        self._container.close()

    def _first_size(self) -> tuple[int, int]:
        """(height, width) of the first frame that can be decoded."""
        first_error: DecodeError | None = None
        for index in range(len(self)):
            try:
                return size_of(self._picture(index))
            except DecodeError as error:
                first_error = first_error or error
        raise first_error or DecodeError(f"{self.path}: the video has no frames")

    def _index(self) -> list[int]:
        """Time stamps of all frames in the order of presentation."""
        try:
            packets = [
                packet for packet in self._container.demux(self._stream) if packet.size and not packet.is_discard
            ]
        except av.FFmpegError as error:
            raise DecodeError(f"{self.path}: damaged or cut off ({error}); is the file complete?") from error
        times = [packet.pts for packet in packets]
        self._reopen()
        is_guessed = self._container.format.name in GUESSED_TIMES
        is_told = bool(times) and None not in times and len(set(times)) == len(times) and not is_guessed
        if is_told and self._agree_with_decoder(sorted(times)):
            self._packets = Packets(self._described(packets))
            is_told_of = self._compare_with_header(
                len(times), float((max(times) - min(times)) * self._stream.time_base)
            )
            return sorted([*times, *self._lost(is_told_of)])
        count = self._count()
        if not count:
            raise SourceError(f"{self.path}: the video has no frames")
        self._is_counted = True
        self._reopen()
        self._compare_with_header(count)
        return list(range(count))

    def _described(self, packets: list[av.Packet]) -> list[Packet]:
        is_spread = self._container.format.name in SPREAD
        ends = [packet.pos for packet in packets[1:]] + [self.path.stat().st_size]
        return [
            Packet(
                time=int(packet.pts or 0),  # told, or the frames would be counted
                place=packet.pos,
                size=end - packet.pos if is_spread and packet.pos is not None and end is not None else packet.size,
                is_key=packet.is_keyframe,
                is_alone=packet.is_disposable,
            )
            for packet, end in zip(packets, ends, strict=True)
        ]

    def _count(self) -> int:
        """Decodes everything to count the frames, and notes those that are drawn from what cannot be decoded."""
        count = errors = 0
        reason = None
        for frame in self._decoder:
            if isinstance(frame, av.FFmpegError):
                errors, reason = errors + 1, f"it is drawn from one that cannot be: {frame}"
                continue
            reason = None if frame.key_frame else reason
            if reason is not None:
                self._spoilt[count] = reason
            count += 1
        if errors and count:
            warnings.warn(
                f"{self.path}: {errors} of its frames cannot be decoded and are not counted, since this file does not "
                "tell the times of its frames; the numbers of those behind them are lower; convert it to MP4 or MKV",
                UserWarning,
                stacklevel=5,
            )
        return count

    def _lost(self, is_told_of: bool) -> list[int]:
        """Time stamps of frames that damage took out of the file, which FFmpeg does not tell of.

        Args:
            is_told_of: there was a warning of a file that ends too early.
        """
        parts = damaged_parts(self.path, self._container.format.name)
        if not parts:
            return []
        where = ", ".join(f"{part.start}..{part.end}" for part in parts)
        lost = self._packets.lost(parts, self._stream.time_base, self._stream.average_rate)
        if lost is None:
            raise DecodeError(
                f"{self.path}: bytes {where} are damaged; how many frames they held cannot be told, because the "
                "frame rate varies, so no frame behind them has a number; repair or cut the file"
            )
        for part in parts:
            self._spoil(self._packets.cut_by(part), f"it ends in the damaged bytes {part.start}..{part.end}")
            reason = f"it is drawn from frames that were in the damaged bytes {part.start}..{part.end}"
            self._spoil(self._packets.spoilt_behind(part), reason)
        self._spoil(lost, f"it was in the damaged bytes {where}")
        if parts[-1].end == self.path.stat().st_size and not is_told_of:
            text = f"{self.path}: its end, bytes {parts[-1].start}.., is damaged or cut off; is the file complete?"
            warnings.warn(text, UserWarning, stacklevel=5)
        return lost

    def _spoil(self, times: list[int], reason: str) -> None:
        for time in times:
            self._spoilt.setdefault(time, reason)

    def _agree_with_decoder(self, times: list[int]) -> bool:
        """Whether packets and frames count time in the same way, and in order; in AVI files they may not."""
        first = [frame for frame, _ in zip(self._decoder, range(FRAMES_COMPARED), strict=False)]
        self._reopen()
        found = [frame.pts for frame in first if not isinstance(frame, av.FFmpegError)]
        return found == sorted(found) and set(found) <= set(times[:FRAMES_COMPARED])

    def _compare_with_header(self, count: int, seconds: float | None = None) -> bool:
        """Warns where a file holds fewer frames, or a shorter time, than its header says; whether it did."""
        missing, rate = self._stream.frames - count, self._stream.average_rate
        told = _seconds(self._stream.metadata.get("DURATION", ""))
        if missing > 0:
            what = f"{self._stream.frames} frames, but {count} are there (those behind missing ones have lower numbers)"
        elif seconds is not None and told is not None and rate and told - seconds > FRAMES_SHORT / rate:
            what = f"{told:.2f} seconds, but its frames end at {seconds + 1 / rate:.2f}"
        else:
            return False
        warnings.warn(f"{self.path}: the header says {what}; is the file complete?", UserWarning, stacklevel=5)
        return True

    def _frame(self, index: int) -> av.VideoFrame:
        """The frame as it was meant.

        Raises:
            DecodeError: it cannot be decoded, or is drawn from one that cannot be.
        """
        time, frame = self._times[index], None
        if time not in self._spoilt:
            frame = self._found(index)
            if self._has_errors and not self._is_counted:
                self._check_around(time)
        if frame is None or time in self._spoilt:
            self._next = len(self)
            problem = self._spoilt.get(time, self._problem)
            raise DecodeError(f"{self.path}: frame {index} cannot be decoded ({problem}); repair or cut the file")
        return frame

    def _found(self, index: int) -> av.VideoFrame | None:
        """The frame, by reading on or by seeking; where a seek lands too late, from farther back, then the start."""
        if index == self._next:
            frame = self._read_to(index)
            if frame is not None:
                return frame
        entries = () if self._is_counted else dict.fromkeys((index, max(index - FARTHER_BACK, 0)))
        for entry in entries:
            self._container.seek(self._times[entry], stream=self._stream, backward=True, any_frame=False)
            self._decoder = self._decoded()
            frame = self._read_to(index)
            if frame is not None:
                return frame
        self._reopen()
        return self._read_to(index)

    def _check_around(self, time: int) -> None:
        """Finds out which packets near a frame cannot be decoded, and notes all frames that are drawn from them.

        With one thread, so that an error belongs to the packet that was given last.
        """
        first, last = self._packets.around(self._packets.by_time[time])
        if (first, last) in self._checked:
            return
        self._checked.add((first, last))
        if not self._check(first, last, is_sought=True):
            self._check(first, last, is_sought=False)

    def _check(self, first: int, last: int, is_sought: bool) -> bool:
        """Decodes packets from a key frame on; whether that key frame was met, which a seek may land behind."""
        container, stream = _open(self.path)
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        with container:
            if is_sought:
                container.seek(self._packets.time(first), stream=stream, backward=True, any_frame=False)
            is_met = False
            for packet in container.demux(stream):
                number = self._packets.by_time.get(packet.pts)
                is_met |= number == first
                if number is not None and number > (last if is_met else first):
                    break
                if not is_met:
                    continue
                try:
                    broken = [frame.pts for frame in packet.decode() if frame.is_corrupt]
                except av.FFmpegError as error:
                    is_ours = number is not None and not self._packets.is_led(number, first)
                    self._note_broken([packet.pts] if is_ours else [], str(error))
                else:
                    self._note_broken(broken, "it is damaged")
        return is_met

    def _note_broken(self, times: list[int], reason: str) -> None:
        for time in times:
            number = self._packets.by_time.get(time)
            if number is not None:
                self._spoil([time], reason)
                drawn = f"it is drawn from frame {self._times.index(time)}, which cannot be"
                self._spoil(self._packets.spoilt_by(number), drawn)

    def _read_to(self, index: int) -> av.VideoFrame | None:
        """Decodes up to a frame; None if the data goes on behind it or ends. Errors of other frames do not matter."""
        wanted, self._problem = self._times[index], "the data ends before it"
        for frame in self._decoder:
            if isinstance(frame, av.FFmpegError):
                self._problem, self._has_errors = str(frame), True
                continue
            time = self._time_of(frame)
            self._has_errors |= frame.is_corrupt
            if time == wanted and not frame.is_corrupt:
                return frame
            if time is not None and time >= wanted:
                return None
        return None

    def _time_of(self, frame: av.VideoFrame) -> int | None:
        """The frame's time stamp, or its number where the file's time stamps are of no use."""
        if not self._is_counted:
            return frame.pts
        self._counted += 1
        return self._counted - 1

    def _decoded(self) -> Iterator:
        """Frames from where the file stands, and in place of those that cannot be decoded their errors."""
        for packet in self._container.demux(self._stream):
            try:
                yield from packet.decode()
            except av.FFmpegError as error:
                yield error

    def _reopen(self) -> None:
        self._container.close()
        self._container, self._stream = _open(self.path)
        self._decoder = self._decoded()
        self._counted = 0


def _seconds(text: str) -> float | None:
    """Of a duration as Matroska files have it, HH:MM:SS.fraction."""
    match = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", text.strip("\0 "))
    return None if match is None else 3600 * int(match[1]) + 60 * int(match[2]) + float(match[3])


def picture_of(frame: av.VideoFrame) -> Tensor:
    """(3, height, width) uint8, turned as the metadata says."""
    turns = round(frame.rotation / 90)  # counter-clockwise
    pixels = np.rot90(frame.to_ndarray(format="rgb24"), turns)
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)


def live_frames(address: str, file_format: str | None = None) -> Iterator[Tensor]:
    """Frames of a network stream or device as they come, until it ends.

    Raises:
        SourceError: it cannot be opened.
        DecodeError: a frame cannot be decoded; those behind it may be drawn from it.
    """
    container, stream = _open(address, file_format)
    count = 0
    try:
        for frame in container.decode(stream):
            yield picture_of(frame)
            count += 1
    except av.FFmpegError as error:
        raise DecodeError(
            f"{address}: frame {count} of the stream cannot be decoded ({error}); open it again"
        ) from error
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
    name = f"file:{source}" if isinstance(source, Path) else str(source)  # a colon in a name is no protocol
    try:
        container = av.open(name, format=file_format)
    except (av.FFmpegError, OSError) as error:
        raise DecodeError(f"{source}: cannot be opened as a video ({error})") from error
    if not container.streams.video:
        container.close()
        raise SourceError(f"{source}: there is no video in this file")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        container.close()
        raise DecodeError(f"{source}: its codec is not known here, or its header is cut off; convert it to H.264")
    stream.thread_type = "AUTO"
    stream.codec_context.options = STRICT
    return container, stream
