"""Frames of a session: where they come from, read when they are needed, encoded once, a few encodings kept."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from torch import Tensor

from sam2_hf.errors import PromptError, SourceError
from sam2_hf.modeling.model import Sam2Model
from sam2_hf.modeling.outputs import ImageFeatures
from sam2_hf.processing.processor import Sam2Processor
from sam2_hf.processing.video import FrameSource, frames_from, stream_from
from sam2_hf.tracking.identity import small_frames
from sam2_hf.tracking.policy import TrackingPolicy

FEATURES_KEPT = 2  # encodings of frames, the ones used last
LOOK_AHEAD = 64  # frames of an iterator or camera that a prompt may lie ahead of what was taken


class FrameStore:
    """Pixels and features by frame number, for a whole video or for a stream that grows.

    Args:
        model: encodes the frames.
        processor: prepares them.
        video: as for `Sam2InferenceSession`.
        policy: what is kept, and where.

    Attributes:
        source: the frames of a whole video, None for a stream.
        size: (height, width) of every frame, None before a stream's first one.
        window: frames and records that a running pass can never read again are let go.
        encodings: how often the image encoder has run.

    Raises:
        SourceError: the video cannot be read.
    """

    def __init__(self, model: Sam2Model, processor: Sam2Processor, video=None, policy: TrackingPolicy | None = None):
        policy = TrackingPolicy() if policy is None else policy
        self.model, self.processor = model, processor
        self.takes_frames = video is None
        self._incoming: Iterator | None = stream_from(video)  # frames that come by themselves
        is_stream = self.takes_frames or self._incoming is not None
        self.source: FrameSource | None = None if is_stream else frames_from(video)
        self.size: tuple[int, int] | None = None if self.source is None else self.source.size
        self.path = _path_of(video)
        self.window = policy.keep == "window" or (policy.keep == "auto" and is_stream)
        self.encodings = 0
        self._pixels_on_cpu = policy.offload in ("video", "all")
        self._appended: OrderedDict[int, Tensor] = OrderedDict()
        self._num_appended = 0
        self._features: OrderedDict[int, ImageFeatures] = OrderedDict()

    def __len__(self) -> int:
        return self._num_appended + (0 if self.source is None else len(self.source))

    @cached_property
    def appearance(self) -> dict[int, list[int] | None] | None:
        """What a whole video looks like, to tell it from another; read once, because it jumps through the video."""
        return None if self.source is None else small_frames(self.source)

    def reach(self, frame: int) -> bool:
        """Whether a frame is there, after taking incoming frames up to it."""
        while frame >= len(self) and self._incoming is not None:
            try:
                picture = next(self._incoming)
            except StopIteration:
                self._incoming = None
                break
            self.take(picture)
        return frame < len(self)

    def require(self, frame: int) -> None:
        """Raises `PromptError` for a frame that the video does not have."""
        if frame < 0 or frame >= len(self) + LOOK_AHEAD or not self.reach(frame):
            there = f"0..{len(self) - 1}" if len(self) else "it has no frame yet"
            raise PromptError(f"frame {frame} is not in the video ({there})")

    def take(self, picture) -> int:
        """Adds a picture of any kind at the end and returns its number."""
        pixel_values, size = self._prepared(picture)
        if self.size is not None and size != self.size:
            raise SourceError(f"the frame is (height, width) {size}, the frames before it are {self.size}")
        self.size = size
        return self.append(pixel_values)

    def append(self, pixel_values: Tensor) -> int:
        """Adds a preprocessed frame (1, 3, height, width) at the end and returns its number."""
        frame = len(self)
        self._appended[frame] = pixel_values.cpu() if self._pixels_on_cpu else pixel_values
        self._num_appended += 1
        return frame

    def release(self, before: int) -> None:
        """Lets go of a stream's frames before a number, unless all are kept."""
        if self.window:
            for frame in [frame for frame in self._appended if frame < before]:
                del self._appended[frame]

    @property
    def known_size(self) -> tuple[int, int]:
        """(height, width) of every frame, once there is one."""
        assert self.size is not None, "no frame was read yet"
        return self.size

    def go_on(self, count: int, size: Sequence[int] | None) -> None:
        """Goes on counting a stream of which frames were seen before and are gone."""
        self._num_appended += count
        self.size = None if size is None else (size[0], size[1])

    def pixels(self, frame: int) -> Tensor:
        """A frame as the model takes it, (1, 3, height, width).

        Raises:
            SourceError: a frame of a stream that is not kept any more.
        """
        if frame in self._appended:
            return self._appended[frame]
        if self.source is not None and frame < len(self.source):
            return self._prepared(self.source[frame])[0]
        kept = ", ".join(map(str, self._appended)) or "none"
        raise SourceError(
            f"frame {frame} of the stream is not kept any more (kept: {kept}); "
            'use TrackingPolicy(keep="all") to go back'
        )

    def features(self, frame: int) -> ImageFeatures:
        """Features of a frame, encoded unless they are among the last ones used."""
        if frame not in self._features:
            pixel_values = self.pixels(frame).to(device=self.model.execution_device, dtype=self.model.dtype)
            self._features[frame] = self.model.encode_image(pixel_values)
            self.encodings += 1
        self._features.move_to_end(frame)
        while len(self._features) > FEATURES_KEPT:
            self._features.popitem(last=False)
        return self._features[frame]

    def clear_features(self) -> None:
        """Drops all encodings."""
        self._features.clear()

    def _prepared(self, picture) -> tuple[Tensor, tuple[int, int]]:
        """pixel_values (1, 3, height, width) and the picture's own (height, width)."""
        inputs = self.processor.image_processor(picture, return_tensors="pt")
        return inputs["pixel_values"], tuple(inputs["original_sizes"][0].tolist())


def _path_of(video) -> str | None:
    """The file or folder that a video is read from; None for what cannot be opened again by name."""
    path = getattr(video, "path", video)
    return str(path) if isinstance(path, (str, Path)) and "://" not in str(path) else None
