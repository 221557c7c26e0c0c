"""Sinks that write one video file: overlay, matte, cut-out with transparency, GIF.

Frames are written in the order in which they come, also when a frame comes again or a pass runs backwards: a film
cannot take a frame back. The file is playable and has its name once the sink is closed.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageFilter

from sam2_hf.disk.whole import announce, naming, part_of, put_in_place
from sam2_hf.pipelines.video import VideoFrameResult
from sam2_hf.pipelines.writing.missing_frames import MissingFrame

DEFAULT_FPS = 25.0
GIF_FPS = 50.0  # players slow down what is faster
GIF_SIDE = 640
FRINGE = 5  # pixels, odd: colours are kept so far around a cut-out, where coarser colour samples reach


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """How frames are kept in a file of some suffix."""

    name: str
    pixels: str
    options: dict[str, str] = field(default_factory=dict)
    is_halved: bool = False  # colours have half the resolution, and sides must be even


H264 = Codec(name="libx264", pixels="yuv420p", options={"crf": "20", "preset": "veryfast"}, is_halved=True)
H264_FINE = Codec(name="libx264", pixels="yuv420p", options={"crf": "12", "preset": "veryfast"}, is_halved=True)
FFV1 = Codec(name="ffv1", pixels="gray", options={"level": "3", "g": "1"})
VP9 = Codec(name="libvpx-vp9", pixels="yuva420p", options={"crf": "24", "b": "0", "cpu-used": "4", "row-mt": "1"})
PRORES = Codec(name="prores_ks", pixels="yuva444p10le", options={"profile": "4444", "alpha_bits": "16"})
GIF = Codec(name="gif", pixels="pal8")

LUMA_LEVELS = [round(16 + value * 219 / 255) for value in range(256)]
CHROMA_LEVELS = [round(128 + (value - 128) * 224 / 255) for value in range(256)]

PLAYED = (".mp4", ".m4v", ".mov")
OVERLAY_CODECS = dict.fromkeys((*PLAYED, ".mkv"), H264)
MATTE_CODECS = {**dict.fromkeys(PLAYED, H264_FINE), ".mkv": FFV1}
ALPHA_CODECS = {".webm": VP9, ".mov": PRORES}
GIF_CODECS = {".gif": GIF}


class VideoFile:
    """A container that is opened with its first frame.

    Args:
        path: its suffix chooses one of `codecs`.
        fps: None: 25.

    Raises:
        ValueError: a suffix that `codecs` does not have.
    """

    def __init__(self, path: str | Path, fps: float | None, codecs: dict[str, Codec]):
        self.path = Path(path)
        suffix = self.path.suffix.lower()
        if suffix not in codecs:
            known = ", ".join(codecs)
            raise ValueError(
                f"{self.path}: cannot hold this as {suffix or 'a file without suffix'}; use one of {known}"
            )
        self.codec, self.fps = codecs[suffix], fps or DEFAULT_FPS
        self._part = part_of(self.path)
        self._container = None

    def add(self, frame: av.VideoFrame) -> None:
        """Encodes one frame; all frames have the size of the first."""
        with self._dropped_if_it_fails():
            if self._container is None:
                self._open(frame.height, frame.width)
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Ends the file and gives it its name; without a frame there is no file."""
        if self._container is None:
            return
        with self._dropped_if_it_fails():
            self._container.mux(self._stream.encode())
            self._container.close()
            self._container = None
            put_in_place(self._part, self.path)

    @contextmanager
    def _dropped_if_it_fails(self) -> Iterator[None]:
        """A film that cannot be written, as on a full disk, leaves nothing behind, and its error names it."""
        try:
            with naming(self.path):
                yield
        except OSError:
            with suppress(OSError):  # it fails again: what it holds back cannot be written either
                if self._container is not None:
                    self._container.close()
            self._container = None
            self._part.unlink(missing_ok=True)
            raise

    def _open(self, height: int, width: int) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        announce(self.path)
        is_streamed = self.path.suffix.lower() in PLAYED
        self._container = av.open(str(self._part), "w", options={"movflags": "faststart"} if is_streamed else {})
        rate = Fraction(self.fps).limit_denominator(1001)
        self._stream = self._container.add_stream(self.codec.name, rate=rate, options=dict(self.codec.options))
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, self.codec.pixels


def halved_frame(picture: Image.Image) -> av.VideoFrame:
    """A picture of even sides as yuv420p, BT.601 in the range of television.

    FFmpeg's own converter gives other bits now and then at the right edge, and a run that is gone on with would differ.
    """
    luma, blue, red = picture.convert("YCbCr").split()
    planes = (luma.point(LUMA_LEVELS), *(chroma.reduce(2).point(CHROMA_LEVELS) for chroma in (blue, red)))
    flat = np.concatenate([np.asarray(plane).ravel() for plane in planes])
    return av.VideoFrame.from_ndarray(flat.reshape(picture.height * 3 // 2, picture.width), format="yuv420p")


class _FilmSink:
    """Turns results into frames of a `VideoFile`."""

    codecs: dict[str, Codec]

    def __init__(self, path: str | Path, fps: float | None = None):
        self._file = VideoFile(path, fps, self.codecs)
        self.path = self._file.path
        self._size: tuple[int, int] | None = None
        self._missing: list[MissingFrame] = []  # before the first result, which says how large the film is

    def write(self, result: VideoFrameResult) -> None:
        self._size = result.size
        while self._missing:
            self._file.add(self._frame(self._missing.pop(0).shown(result.size)))
        self._file.add(self._frame(result))

    def skip(self, frame: MissingFrame) -> None:
        """Shows a frame that cannot be read as missing, for as long as it would have been seen."""
        if self._size is None:
            self._missing.append(frame)
        else:
            self._file.add(self._frame(frame.shown(self._size)))

    def close(self) -> None:
        self._file.close()

    def _frame(self, result: VideoFrameResult) -> av.VideoFrame:
        raise NotImplementedError

    def _frame_of(self, pixels: np.ndarray, layout: str) -> av.VideoFrame:
        """A frame of an array; odd sides lose their last pixel where the codec needs even ones."""
        if self._file.codec.is_halved:
            height, width = (side // 2 * 2 for side in pixels.shape[:2])
            if not (height and width):
                raise ValueError(f"{self.path}: H.264 has no frames with a side of 1 pixel; use another kind of file")
            return halved_frame(Image.fromarray(np.ascontiguousarray(pixels[:height, :width])))
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=layout)


class OverlayVideo(_FilmSink):
    """Masks over the frames as H.264 (.mp4 .mov .mkv); odd sides lose their last pixel, as the format wants."""

    codecs = OVERLAY_CODECS

    def _frame(self, result: VideoFrameResult) -> av.VideoFrame:
        return self._frame_of(np.asarray(result.plot()), "rgb24")


class MatteVideo(_FilmSink):
    """All objects together in white on black, without the picture.

    `.mkv` holds FFV1: every pixel comes back as it was, for programs that go on from it. `.mp4` and `.mov` hold H.264,
    which every player and cutting program opens, with edges that are right to a few grey levels; there odd sides lose
    their last pixel.
    """

    codecs = MATTE_CODECS

    def _frame(self, result: VideoFrameResult) -> av.VideoFrame:
        return self._frame_of(union_of(result), "gray")


class AlphaVideo(_FilmSink):
    """The objects cut out, the rest transparent: VP9 in `.webm` for browsers, ProRes 4444 in `.mov` for cutting.

    What is farther than two pixels from an object is black under the transparency, so the file does not hold the rest
    of the picture.
    """

    codecs = ALPHA_CODECS

    def _frame(self, result: VideoFrameResult) -> av.VideoFrame:
        alpha = union_of(result)
        pixels = result.pixels()
        pixels[np.asarray(Image.fromarray(alpha).filter(ImageFilter.MaxFilter(FRINGE))) == 0] = 0
        return self._frame_of(np.dstack((pixels, alpha)), "rgba")


class GifVideo(_FilmSink):
    """The overlay as a GIF that plays for ever, each frame with 256 colours of its own.

    Args:
        fps: at most 50, which is what players show.
        longest_side: larger frames are made smaller, in pixels; None keeps them.
    """

    codecs = GIF_CODECS

    def __init__(self, path: str | Path, fps: float | None = None, longest_side: int | None = GIF_SIDE):
        super().__init__(path, min(fps or DEFAULT_FPS, GIF_FPS))
        self.longest_side = longest_side

    def _frame(self, result: VideoFrameResult) -> av.VideoFrame:
        picture = result.plot()
        if self.longest_side is not None:
            picture.thumbnail((self.longest_side, self.longest_side))
        indexed = picture.quantize(256)
        colours = np.array(indexed.getpalette(), dtype=np.uint8).reshape(-1, 3)
        palette = np.zeros((256, 4), dtype=np.uint8)
        palette[:, 0] = 255  # alpha, then red, green and blue
        palette[: len(colours), 1:] = colours
        return av.VideoFrame.from_ndarray((np.asarray(indexed), palette), format="pal8")


def union_of(result: VideoFrameResult) -> np.ndarray:
    """All masks of a frame together, (height, width) uint8, 255 inside."""
    union = np.zeros(result.size, dtype=bool)
    for mask in result.masks:
        union |= mask
    return union.astype(np.uint8) * 255
