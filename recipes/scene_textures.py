"""Surfaces of made-up objects and backgrounds: patterns, and pieces of real pictures if there are any."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from sam2_hf.datasets.clips import LabelledClip

LONGEST_SIDE = 512  # real pictures are kept at this size


@dataclass(frozen=True, slots=True, kw_only=True)
class CutOut:
    """A real object cut from its picture: (height, width, 3) uint8 and (height, width) bool."""

    pixels: np.ndarray
    mask: np.ndarray


@dataclass(slots=True)
class PictureLibrary:
    """Real pictures to take surfaces, backgrounds and objects from; empty for scenes that are made up entirely.

    Attributes:
        pictures: (height, width, 3) uint8.
        cut_outs: objects of these pictures.
    """

    pictures: list[np.ndarray] = field(default_factory=list)
    cut_outs: list[CutOut] = field(default_factory=list)

    @classmethod
    def from_clips(cls, clips: Sequence[LabelledClip], frames_per_clip: int = 6) -> "PictureLibrary":
        """Takes a few frames of every clip, and the objects on them that are large enough to be recognised."""
        library = cls()
        for clip in clips:
            picks = np.linspace(0, len(clip.labelled_frames) - 1, min(frames_per_clip, len(clip.labelled_frames)))
            for index in sorted({clip.labelled_frames[int(pick)] for pick in picks}):
                library.add(clip.frame(index), clip.masks(index))
        return library

    def add(self, picture: Image.Image, masks: dict[int, np.ndarray]) -> None:
        scale = min(1.0, LONGEST_SIDE / max(picture.size))
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        pixels = np.asarray(picture.resize(size, Image.Resampling.BILINEAR))
        self.pictures.append(pixels)
        for mask in masks.values():
            small = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
            if small.sum() >= 400:
                rows, columns = np.flatnonzero(small.any(1)), np.flatnonzero(small.any(0))
                window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
                self.cut_outs.append(CutOut(pixels=pixels[window], mask=small[window]))

    def piece(self, rng: np.random.Generator, height: int, width: int, zoom: tuple[float, float]) -> np.ndarray:
        """A random rectangle of a random picture, mirrored or not, in other colours, (height, width, 3) uint8."""
        picture = self.pictures[rng.integers(len(self.pictures))]
        share = rng.uniform(*zoom)
        crop_height, crop_width = (max(4, int(share * side)) for side in picture.shape[:2])
        top, left = (
            int(rng.integers(0, side - crop + 1))
            for side, crop in zip(picture.shape[:2], (crop_height, crop_width), strict=True)
        )
        crop = Image.fromarray(picture[top : top + crop_height, left : left + crop_width])
        pixels = np.asarray(crop.resize((width, height), Image.Resampling.BILINEAR))
        return recolour(rng, pixels[:, ::-1] if rng.random() < 0.5 else pixels)


def recolour(rng: np.random.Generator, pixels: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """Other brightness, contrast and colour balance."""
    gain = np.exp(strength * (rng.normal(0, 0.15) + rng.normal(0, 0.12, 3)))
    offset = strength * (rng.normal(0, 18) + rng.normal(0, 8, 3))
    mean = pixels.mean()
    table = np.clip((np.arange(256)[:, None] - mean) * gain + mean + offset, 0, 255).astype(np.uint8)  # (256, 3)
    return np.stack([table[:, channel][pixels[..., channel]] for channel in range(3)], axis=-1)


def random_colour(rng: np.random.Generator) -> np.ndarray:
    """More often a dull colour than a bright one."""
    grey = rng.uniform(10, 245)
    return np.clip(grey + rng.normal(0, rng.choice([5, 25, 70]), 3), 0, 255)


def pattern(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A made-up surface, (height, width, 3) uint8: two colours mixed by a gradient, stripes, squares or clouds."""
    first, second = random_colour(rng), random_colour(rng)
    if rng.random() < 0.5:
        second = np.clip(first + rng.normal(0, 25, 3), 0, 255)  # alike
    mix = _MIXES[rng.integers(len(_MIXES))](rng, height, width)[..., None]
    surface = first * (1 - mix) + second * mix
    if rng.random() < 0.7:
        surface = surface + rng.uniform(2, 25) * (_clouds(rng, height, width)[..., None] - 0.5)
    return np.clip(surface, 0, 255).astype(np.uint8)


def _grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    return np.mgrid[0:height, 0:width].astype(np.float32)


def _gradient(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    rows, columns = _grid(height, width)
    angle = rng.uniform(0, 2 * np.pi)
    ramp = rows / height * np.sin(angle) + columns / width * np.cos(angle)
    return (ramp - ramp.min()) / max(float(np.ptp(ramp)), 1e-6)


def _stripes(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    rows, columns = _grid(height, width)
    angle, period = rng.uniform(0, np.pi), rng.uniform(4, 40)
    wave = np.sin((rows * np.sin(angle) + columns * np.cos(angle)) * 2 * np.pi / period)
    return (wave > 0).astype(np.float32) if rng.random() < 0.5 else (0.5 + 0.5 * wave)


def _squares(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    rows, columns = _grid(height, width)
    period = rng.uniform(4, 30)
    return ((rows // period + columns // period) % 2).astype(np.float32)


def _clouds(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Smooth noise: a few coarse random grids, enlarged and added."""
    total = np.zeros((height, width), dtype=np.float32)
    for cells in rng.choice([3, 6, 12, 24, 48], 2, replace=False):
        coarse = rng.random((cells, cells)).astype(np.float32)
        total += np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return np.clip(total / 2, 0, 1)


_MIXES = (_gradient, _stripes, _squares, _clouds, _clouds)
