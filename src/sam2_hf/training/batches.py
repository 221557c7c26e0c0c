"""Clips of a batch, stacked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSample:
    """One clip as the model sees it; a picture is a clip of one frame.

    Attributes:
        frames: (frames, 3, size, size) float, normalised.
        masks: (objects, frames, size, size) bool, all zero where the object is absent.
        void: (frames, size, size) bool, pixels without truth; None: there are none.
        seed: of the prompts that are simulated for this clip.
        name: where it comes from, for messages.
    """

    frames: Tensor
    masks: Tensor
    void: Tensor | None
    seed: tuple[int, ...]
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipBatch:
    """Clips of equal length, the objects of all of them in one axis.

    Attributes:
        frames: (videos, frames, 3, size, size) float.
        masks: (objects, frames, size, size) bool.
        is_valid: (objects, frames, size, size) bool, or None where all pixels have a truth.
        video_of: (objects,) int64, the video that each object is in; ascending.
        seeds: one per video, of the prompts that are simulated for it.
        names: one per video.
    """

    frames: Tensor
    masks: Tensor
    is_valid: Tensor | None
    video_of: Tensor
    seeds: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]

    @property
    def num_frames(self) -> int:
        return self.frames.shape[1]

    @property
    def num_objects(self) -> int:
        return self.masks.shape[0]

    @property
    def visible(self) -> list[bool]:
        """Per frame, whether all objects are visible."""
        return self.masks.flatten(2).any(dim=2).all(dim=0).tolist()

    @property
    def objects_per_video(self) -> int | None:
        """How many objects every video has; None if they differ."""
        counts = torch.bincount(self.video_of, minlength=self.frames.shape[0])
        return int(counts[0]) if bool((counts == counts[0]).all()) else None

    def to(self, device: torch.device) -> "ClipBatch":
        moved = {name: getattr(self, name) for name in ("frames", "masks", "is_valid", "video_of")}
        return replace(self, **{name: None if value is None else value.to(device) for name, value in moved.items()})

    def draws(self) -> "PromptDraws":
        """Fresh random numbers for the prompts of this batch, the same whenever they are asked for."""
        return PromptDraws([np.random.default_rng(seed) for seed in self.seeds], self.video_of.tolist())


class PromptDraws:
    """Uniform numbers per object, from a generator per video, so that they do not depend on the rest of the batch."""

    def __init__(self, generators: list[np.random.Generator], video_of: list[int]):
        self.generators, self.video_of = generators, video_of

    def uniform(self, *shape: int) -> np.ndarray:
        """(objects, *shape) in [0, 1)."""
        return np.stack([self.generators[video].random(shape) for video in self.video_of])


def collate(samples: Sequence[ClipSample]) -> ClipBatch:
    """Stacks clips of equal length.

    Raises:
        ValueError: clips of different lengths.
    """
    lengths = {sample.frames.shape[0] for sample in samples}
    if len(lengths) != 1:
        raise ValueError(f"clips of one batch have equally many frames, got {sorted(lengths)}")
    video_of = [index for index, sample in enumerate(samples) for _ in range(sample.masks.shape[0])]
    has_void = any(sample.void is not None for sample in samples)
    return ClipBatch(
        frames=torch.stack([sample.frames for sample in samples]),
        masks=torch.cat([sample.masks for sample in samples]),
        is_valid=torch.cat([_valid(sample) for sample in samples]) if has_void else None,
        video_of=torch.tensor(video_of),
        seeds=tuple(sample.seed for sample in samples),
        names=tuple(sample.name for sample in samples),
    )


def _valid(sample: ClipSample) -> Tensor:
    if sample.void is None:
        return torch.ones_like(sample.masks)
    return (~sample.void).expand_as(sample.masks)
