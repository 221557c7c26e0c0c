"""Augmentation of a clip as one: every draw holds for all frames and masks, except the last colour jitter.

Torch operations and an explicit generator; the same seed gives the same clip on every machine.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from sam2_hf.errors import ConfigError

FILL_COLOUR = (123.0, 116.0, 103.0)  # outside of a turned picture: the mean colour
GREY_WEIGHTS = (0.299, 0.587, 0.114)
AFFINE_TRIES = 5
MAX_ROTATION_DEGREES, MAX_SHEAR_DEGREES = 25.0, 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentOptions:
    """How clips are changed; the defaults are the original's recipe.

    Attributes:
        flip: probability of mirroring.
        rotation, shear: largest angles in degrees; both 0 switches the affine map off.
        crop: smallest side of a random crop, as a share of the picture's; 1 for none.
        jitter: largest changes of brightness, contrast and saturation of a clip.
        frame_jitter: the same for every frame by itself.
        grey: probability of a clip without colour.
        mosaic: probability of a 2 x 2 grid of copies, of which one holds the objects.
    """

    flip: float = 0.5
    rotation: float = MAX_ROTATION_DEGREES
    shear: float = MAX_SHEAR_DEGREES
    crop: float = 1.0
    jitter: tuple[float, float, float] = (0.1, 0.03, 0.03)
    frame_jitter: tuple[float, float, float] = (0.1, 0.05, 0.05)
    grey: float = 0.05
    mosaic: float = 0.0

    def __post_init__(self):
        for name in ("flip", "grey", "mosaic"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"`{name}` is {getattr(self, name)}, but it must be in [0, 1]")
        if not 0 < self.crop <= 1:
            raise ConfigError(f"`crop` is {self.crop}, but it must be in (0, 1]")


NO_AUGMENTATION = AugmentOptions(flip=0, rotation=0, shear=0, jitter=(0, 0, 0), frame_jitter=(0, 0, 0), grey=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawClip:
    """A clip as it was read.

    Attributes:
        frames: (frames, 3, height, width) uint8.
        masks: (objects, frames, height, width) bool.
        void: (frames, height, width) bool or None.
        name: for messages.
        skipped_affine: the affine map was left out because an object would have been lost on the first frame.
    """

    frames: Tensor
    masks: Tensor
    void: Tensor | None
    name: str
    skipped_affine: bool = False


def augment(clip: RawClip, size: int, options: AugmentOptions, rng: np.random.Generator) -> RawClip:
    """Changes a clip and brings it to size x size.

    Returns:
        frames as float in [0, 255]; everything else as it was, at the new size.
    """
    masks = clip.masks.flatten(0, 1) if clip.void is None else torch.cat((clip.masks.flatten(0, 1), clip.void))
    frames = clip.frames
    if options.crop < 1:
        frames, masks = _crop(frames, masks, clip.masks[:, 0], options.crop, rng)
    if rng.random() < options.flip:
        frames, masks = frames.flip(-1), masks.flip(-1)
    aspect = frames.shape[-1] / frames.shape[-2]
    frames, masks = resize_frames(frames, size), resize_masks(masks, size)
    skipped = False
    if options.rotation or options.shear:
        frames, masks, skipped = _turn(frames, masks, clip.masks.shape[:2], aspect, options, rng)
    if rng.random() < options.mosaic:
        frames, masks = _mosaic(frames, masks, rng)
    frames = _colours(frames, options, rng)
    count = clip.masks.shape[0] * clip.masks.shape[1]
    return RawClip(
        frames=frames,
        masks=masks[:count].unflatten(0, clip.masks.shape[:2]),
        void=None if clip.void is None else masks[count:],
        name=clip.name,
        skipped_affine=skipped,
    )


def normalise(frames: Tensor) -> Tensor:
    """(..., 3, height, width) in [0, 255] to what the model expects."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    return (frames.float() / 255 - mean) / std


def resize_frames(frames: Tensor, size: int) -> Tensor:
    """(frames, 3, height, width) uint8 to float (frames, 3, size, size) in [0, 255]."""
    if tuple(frames.shape[-2:]) == (size, size):
        return frames.float()
    return F.interpolate(frames.float(), (size, size), mode="bilinear", align_corners=False, antialias=True)


def resize_masks(masks: Tensor, size: int) -> Tensor:
    """(n, height, width) bool to (n, size, size): inside where at least half of a pixel is."""
    if tuple(masks.shape[-2:]) == (size, size) or masks.shape[0] == 0:
        return masks if masks.shape[0] else masks.new_zeros(0, size, size)
    values = masks.to(torch.uint8)[:, None] * 255
    resized = F.interpolate(values.float(), (size, size), mode="bilinear", align_corners=False, antialias=True)
    return resized[:, 0] >= 127.5


# Geometry


def _crop(
    frames: Tensor, masks: Tensor, first: Tensor, smallest: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """A random window; as it was if an object would be lost on the first frame."""
    height, width = frames.shape[-2:]
    for _ in range(AFFINE_TRIES):
        tall, wide = (max(1, round(side * rng.uniform(smallest, 1))) for side in (height, width))
        top, left = int(rng.integers(0, height - tall + 1)), int(rng.integers(0, width - wide + 1))
        window = (..., slice(top, top + tall), slice(left, left + wide))
        if bool(first[window].flatten(1).any(dim=1).all()):
            return frames[window], masks[window]
    return frames, masks


def _turn(
    frames: Tensor,
    masks: Tensor,
    objects_and_frames: tuple[int, int],
    aspect: float,
    options: AugmentOptions,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor, bool]:
    """Rotation and shear in the proportions of the original picture; the last says that no try kept all objects."""
    objects, length = objects_and_frames
    for _ in range(AFFINE_TRIES):
        angle = np.deg2rad(rng.uniform(-options.rotation, options.rotation))
        shear = np.tan(np.deg2rad(rng.uniform(-options.shear, options.shear)))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ [[1, shear], [0, 1]]
        squash = np.diag([aspect, 1.0])
        matrix = np.linalg.inv(squash) @ np.linalg.inv(turn) @ squash
        theta = torch.tensor(np.column_stack((matrix, [0, 0])), dtype=torch.float32)[None]
        turned = _sample(masks.float(), theta, "nearest") > 0.5
        first = turned[: objects * length].unflatten(0, (objects, length))[:, 0]
        if bool(first.flatten(1).any(dim=1).all()):
            fill = torch.tensor(FILL_COLOUR)[:, None, None]
            return _sample(frames - fill, theta, "bilinear") + fill, turned, False
    return frames, masks, True


def _sample(maps: Tensor, theta: Tensor, mode: str) -> Tensor:
    """One affine map of all maps, as channels of one picture; zero outside."""
    flat = maps.reshape(1, -1, *maps.shape[-2:])
    grid = F.affine_grid(theta, [1, 1, *maps.shape[-2:]], align_corners=False)
    return F.grid_sample(flat, grid, mode=mode, align_corners=False).reshape(maps.shape)


def _mosaic(frames: Tensor, masks: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Four small copies of every frame, each mirrored or not; the objects are those of one copy."""
    size = frames.shape[-1]
    half = size // 2
    small, small_masks = resize_frames(frames, half), resize_masks(masks, half)
    chosen = int(rng.integers(4))
    picture, labels = torch.zeros_like(frames), torch.zeros_like(masks)
    for cell in range(4):
        row, column = half * (cell // 2), half * (cell % 2)
        flips = [axis for axis in (-1, -2) if rng.random() < 0.5]
        window = (..., slice(row, row + half), slice(column, column + half))
        picture[window] = small.flip(flips)
        if cell == chosen:
            labels[window] = small_masks.flip(flips)
    return picture, labels


# Colours


def _colours(frames: Tensor, options: AugmentOptions, rng: np.random.Generator) -> Tensor:
    frames = _jitter(frames, options.jitter, rng)
    if rng.random() < options.grey:
        frames = _grey(frames).expand_as(frames)
    if any(options.frame_jitter):
        frames = torch.cat([_jitter(frame, options.frame_jitter, rng) for frame in frames.split(1)])
    return frames.clamp(0, 255)


def _jitter(frames: Tensor, strength: tuple[float, float, float], rng: np.random.Generator) -> Tensor:
    """Brightness, contrast and saturation by random factors, in random order."""
    for kind in rng.permutation(3):
        if not strength[kind]:
            continue
        factor = float(rng.uniform(max(0.0, 1 - strength[kind]), 1 + strength[kind]))
        if kind == 0:
            frames = frames * factor
        elif kind == 1:
            frames = (frames - _grey(frames).mean()) * factor + _grey(frames).mean()
        else:
            grey = _grey(frames)
            frames = (frames - grey) * factor + grey
        frames = frames.clamp(0, 255)
    return frames


def _grey(frames: Tensor) -> Tensor:
    weights = torch.tensor(GREY_WEIGHTS)[:, None, None]
    return (frames * weights).sum(dim=-3, keepdim=True)
