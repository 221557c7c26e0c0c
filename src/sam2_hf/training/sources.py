"""Where clips come from: data sets on disk, tables, files of your own. From a number and a generator to a clip."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sam2_hf.datasets.clips import LabelledClip
from sam2_hf.errors import ConfigError, SourceError
from sam2_hf.training.decoded import DecodedFrame, DecodedFrames, FramesInMemory
from sam2_hf.training.transforms import RawClip

TRIES = 1000  # starts that are tried for one with a visible object


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingOptions:
    """Which part of a clip is taken.

    Attributes:
        num_frames: frames of a sample; 1 for pictures.
        max_objects: at most so many objects, chosen at random among those on the first frame.
        fill_objects: repeat objects up to `max_objects`, so that all clips have equally many; each repetition gets
            prompts of its own.
        reverse: probability of taking the frames backwards.
        max_stride: frames are up to so many numbers apart, drawn per sample.
        max_area: leave out objects that cover more than this share of the first frame.
    """

    num_frames: int = 1
    max_objects: int = 3
    fill_objects: bool = False
    reverse: float = 0.0
    max_stride: int = 1
    max_area: float = 1.0

    def __post_init__(self):
        for name in ("num_frames", "max_objects", "max_stride"):
            if getattr(self, name) < 1:
                raise ConfigError(f"`{name}` is {getattr(self, name)}, but it must be at least 1")


class Source(Protocol):
    """Gives clips by number."""

    def __len__(self) -> int: ...

    def sample(self, index: int, rng: np.random.Generator) -> RawClip: ...


class ClipSource:
    """Labelled clips.

    Args:
        clips: of one data set; each at least `num_frames` labelled frames long.
        options: which part is taken.
        max_side: decoded frames are kept in memory, at most this long; None: decode again every time, at full size.
        frames: where decoded frames come from instead, see `decoded`.

    Raises:
        SourceError: a clip is too short or has no object.
    """

    def __init__(
        self,
        clips: Sequence[LabelledClip],
        options: SamplingOptions,
        max_side: int | None = None,
        frames: DecodedFrames | None = None,
    ):
        for clip in clips:
            if len(clip.labelled_frames) < options.num_frames:
                raise SourceError(
                    f"{clip.name}: has {len(clip.labelled_frames)} labelled frames, but samples are "
                    f"{options.num_frames} frames long; lower `num_frames` or leave the clip out"
                )
        self.clips, self.options = list(clips), options
        self.frames = FramesInMemory(self.clips, max_side) if frames is None else frames

    def __len__(self) -> int:
        return len(self.clips)

    def sample(self, index: int, rng: np.random.Generator) -> RawClip:
        clip = self.clips[index]
        for _ in range(TRIES):
            frames = self._frames(clip, rng)
            chosen = self._objects(index, frames[0], rng)
            if chosen:
                return self._read(index, frames, chosen)
        raise SourceError(f"{clip.name}: no object is visible at any start that was tried; leave the clip out")

    def _frames(self, clip: LabelledClip, rng: np.random.Generator) -> list[int]:
        """Labelled frames at equal distances, forwards or backwards."""
        length, available = self.options.num_frames, len(clip.labelled_frames)
        widest = (available - 1) // (length - 1) if length > 1 else 1
        stride = int(rng.integers(1, min(self.options.max_stride, widest) + 1))
        start = int(rng.integers(0, available - (length - 1) * stride))
        picks = [clip.labelled_frames[start + step * stride] for step in range(length)]
        return picks[::-1] if rng.random() < self.options.reverse else picks

    def _objects(self, index: int, frame: int, rng: np.random.Generator) -> list[int]:
        shares = self.frames.get(index, frame).shares
        visible = [key for key, share in shares.items() if 0 < share <= self.options.max_area]
        count = min(len(visible), self.options.max_objects)
        chosen = [visible[pick] for pick in rng.choice(len(visible), count, replace=False)] if count else []
        return repeated(chosen, self.options.max_objects) if self.options.fill_objects else chosen

    def _read(self, index: int, frames: list[int], chosen: list[int]) -> RawClip:
        decoded = [self.frames.get(index, frame) for frame in frames]
        return RawClip(
            frames=torch.from_numpy(np.stack([one.pixels for one in decoded])).permute(0, 3, 1, 2),
            masks=torch.from_numpy(np.stack([one.masks(chosen) for one in decoded], axis=1)),
            void=_void(decoded),
            name=self.clips[index].name,
        )


def _void(decoded: list[DecodedFrame]) -> Tensor | None:
    voids = [one.void for one in decoded]
    if all(void is None for void in voids):
        return None
    nothing = np.zeros(decoded[0].pixels.shape[:2], bool)
    return torch.from_numpy(np.stack([nothing if void is None else void for void in voids]))


def repeated(objects: list[int], count: int) -> list[int]:
    """The same objects over and over, up to a number of them."""
    return [objects[index % len(objects)] for index in range(count)] if objects else []
