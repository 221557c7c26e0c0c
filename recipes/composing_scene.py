"""Composed scenes: real objects on real pictures, moving, hiding each other, entering and leaving, with exact masks."""

from dataclasses import dataclass, field, replace

import numpy as np
from composing_pieces import Pieces
from PIL import Image, ImageFilter

VISIBLE_SHARE = 1 / 1500  # of the picture; an object of which less is seen counts as absent
CLEAR_PART = 0.3  # of an object that must be seen for a prompt to mean it
MARGIN = 1.35  # a background is larger than the picture by this where the camera moves
SUB_FRAMES = 5  # positions that a blurred object is averaged over


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposingOptions:
    """What composed scenes look like; probabilities in [0, 1].

    Attributes:
        size: side in pixels.
        max_objects: at most so many are put on the picture, besides look-alikes and things in front.
        look_alikes: that an object has copies beside it.
        in_front: that something lies across the first object, or passes it in a clip, so that its parts are far apart.
        shadow: that an object throws one.
        comes_and_goes: that an object of a clip enters or leaves.
        camera: that the camera of a clip moves.
        motion_blur: that fast objects of a clip are blurred.
    """

    size: int = 256
    max_objects: int = 3
    look_alikes: float = 0.25
    in_front: float = 0.25
    shadow: float = 0.35
    comes_and_goes: float = 0.25
    camera: float = 0.6
    motion_blur: float = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """An object and how it moves; places in shares of the side, angles in radians, all changes per frame."""

    sprite: Image.Image
    centre: np.ndarray
    scale: float
    angle: float = 0.0
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))
    growth: float = 1.0
    spin: float = 0.0
    sway: float = 0.0
    shadow: tuple[float, float, float] | None = None  # offset right, offset down, darkness
    is_blurred: bool = False

    def drawn(self, time: float, camera: np.ndarray, size: int) -> Image.Image:
        """RGBA of the whole picture at a time that may lie between two frames."""
        if not self.is_blurred:
            return self._at(time, camera, size)
        parts = (self._at(time + part, camera, size) for part in np.linspace(-0.2, 0.2, SUB_FRAMES))
        total = np.mean([np.asarray(part.convert("RGBa"), np.float32) for part in parts], axis=0)
        return Image.frombuffer("RGBa", (size, size), total.astype(np.uint8).tobytes()).convert("RGBA")

    def _at(self, time: float, camera: np.ndarray, size: int) -> Image.Image:
        scale = self.scale * self.growth**time * size / max(self.sprite.size)
        angle, shear = self.angle + self.spin * time, self.sway * np.sin(1.3 * time)
        forward = scale * np.array([[np.cos(angle), -np.sin(angle) + shear], [np.sin(angle), np.cos(angle)]])
        backward = np.linalg.inv(forward)
        shift = np.array(self.sprite.size) / 2 - backward @ ((self.centre + self.velocity * time + camera) * size)
        matrix = (*backward[0], shift[0], *backward[1], shift[1])
        sprite = self.sprite
        if scale < 0.5:  # bilinear sampling would skip pixels
            sprite = sprite.reduce(int(1 / scale))
            ratio = np.array(sprite.size) / self.sprite.size
            matrix = (*(ratio[0] * np.array(matrix[:3])), *(ratio[1] * np.array(matrix[3:])))
        return sprite.transform((size, size), Image.Transform.AFFINE, tuple(matrix), Image.Resampling.BILINEAR)


class Composer:
    """Renders composed scenes; each is a pure function of its random generator."""

    def __init__(self, pieces: Pieces, options: ComposingOptions):
        self.pieces, self.options = pieces, options

    def render(self, rng: np.random.Generator, num_frames: int = 1) -> tuple[np.ndarray, np.ndarray, list[int]]:
        """One clip.

        Returns:
            frames (frames, size, size, 3) uint8, ids (frames, size, size) uint8, and the ids of which enough is seen on
            the first frame.
        """
        size, is_clip = self.options.size, num_frames > 1
        moves = is_clip and rng.random() < self.options.camera
        background, own_ids = self.pieces.background(rng, int(size * MARGIN) if moves else size)
        layers = self._layers(rng, background, num_frames)
        pace = rng.normal(0, 0.02, 2) if moves else np.zeros(2)
        finish = _Finish(rng)
        frames, ids = [], []
        for time in range(num_frames):
            canvas, numbers = _shifted(background, own_ids, pace * time, size)
            areas = np.bincount(numbers.ravel(), minlength=256)
            for number, layer in enumerate(layers, int(own_ids.max()) + 1):
                drawn = layer.drawn(time, pace * time, size)
                alpha = np.asarray(drawn.getchannel("A"))
                canvas = _with_shadow(canvas, drawn, layer.shadow)
                canvas.paste(drawn, mask=drawn.getchannel("A"))
                numbers[alpha > 127] = number
                areas[number] = (alpha > 127).sum()
            if not time:
                clear = _clear(numbers, areas)
            frames.append(finish.apply(canvas, rng))
            ids.append(_without_specks(numbers))
        return np.stack(frames), np.stack(ids), clear

    # Objects

    def _layers(self, rng: np.random.Generator, background: np.ndarray, num_frames: int) -> list[Layer]:
        count = int(rng.integers(1, self.options.max_objects + 1))
        layers = [self._layer(rng, background, num_frames) for _ in range(count)]
        if rng.random() < self.options.look_alikes:
            layers += _copies(rng, layers[0])
        if rng.random() < self.options.in_front:
            layers.append(self._in_front(rng, layers[0], background, num_frames))
        return layers

    def _layer(self, rng: np.random.Generator, background: np.ndarray, num_frames: int) -> Layer:
        sprite = matched(self.pieces.object(rng), background, rng)
        pace = float(rng.choice([0.3, 1.0, 2.0])) if num_frames > 1 else 0.0
        centre, velocity = rng.uniform(0.12, 0.88, 2), pace * rng.normal(0, 0.025, 2)
        if num_frames > 1 and rng.random() < self.options.comes_and_goes:
            velocity = rng.normal(0, 1, 2)
            velocity *= rng.uniform(0.6, 1.2) / np.linalg.norm(velocity) / num_frames
            centre = centre - velocity * num_frames if rng.random() < 0.5 else centre
        return Layer(
            sprite=sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else sprite,
            centre=centre,
            scale=float(np.exp(rng.uniform(np.log(0.12), np.log(0.8)))),
            angle=rng.normal(0, 0.25) if rng.random() < 0.8 else rng.uniform(-np.pi, np.pi),
            velocity=velocity,
            growth=float(np.exp(pace * rng.normal(0, 0.025))),
            spin=pace * rng.normal(0, 0.05),
            sway=pace * rng.uniform(0, 0.06),
            shadow=_shadow(rng) if rng.random() < self.options.shadow else None,
            is_blurred=num_frames > 1 and rng.random() < self.options.motion_blur,
        )

    def _in_front(self, rng: np.random.Generator, hidden: Layer, background: np.ndarray, num_frames: int) -> Layer:
        """Something that lies across an object; in a clip it passes in the middle of the time."""
        layer = self._layer(rng, background, num_frames)
        velocity = np.zeros(2)
        if num_frames > 1:
            velocity = rng.normal(0, 1, 2)
            velocity *= rng.uniform(0.3, 1.0) / np.linalg.norm(velocity) / num_frames
        middle = hidden.centre + hidden.velocity * (num_frames - 1) / 2
        slim = layer.sprite.resize((max(4, int(layer.sprite.width * rng.uniform(0.25, 0.8))), layer.sprite.height))
        return replace(
            layer,
            sprite=slim,
            centre=middle + rng.normal(0, 0.06, 2) * hidden.scale - velocity * (num_frames - 1) / 2,
            velocity=hidden.velocity + velocity,
            scale=min(1.2, hidden.scale * rng.uniform(0.7, 1.5)),
        )


def _copies(rng: np.random.Generator, layer: Layer) -> list[Layer]:
    """One to three of the same kind beside it, a little different in size, pose and light."""
    copies = []
    for _ in range(int(rng.integers(1, 4))):
        direction = rng.normal(0, 1, 2)
        distance = layer.scale * rng.uniform(0.5, 1.1) * direction / np.linalg.norm(direction)
        copies.append(
            replace(
                layer,
                sprite=_lit(layer.sprite, rng, 0.1),
                centre=layer.centre + distance,
                scale=layer.scale * rng.uniform(0.8, 1.2),
                angle=layer.angle + rng.normal(0, 0.2),
                velocity=layer.velocity + rng.normal(0, 0.01, 2) * bool(layer.velocity.any()),
            )
        )
    return copies


# Light


def matched(sprite: Image.Image, background: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """An object in colours and contrast that lie between its own and those of the picture it is put on."""
    pixels = np.asarray(sprite, np.float32)
    inside = pixels[..., 3] > 127
    if not inside.any():
        return sprite
    strength = rng.uniform(0, 0.5)
    own, there = pixels[inside][:, :3], background[::8, ::8].reshape(-1, 3).astype(np.float32)
    spread = 1 + strength * (np.clip(there.std() / (own.std() + 1e-3), 0.5, 1.6) - 1)
    mean = own.mean(axis=0)
    wanted = mean + strength * (there.mean(axis=0) - mean)
    pixels[..., :3] = np.clip((pixels[..., :3] - mean) * spread + wanted, 0, 255)
    return _lit(Image.fromarray(pixels.astype(np.uint8)), rng, 0.3)


def _lit(sprite: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    """Brighter on one side than on the other, and all of it a little brighter or darker."""
    pixels = np.asarray(sprite).copy()
    height, width = pixels.shape[:2]
    rows, columns = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    angle = rng.uniform(0, 2 * np.pi)
    light = (
        1 + rng.normal(0, strength / 3) + rng.uniform(0, strength) * (rows * np.sin(angle) + columns * np.cos(angle))
    )
    pixels[..., :3] = np.clip(pixels[..., :3] * np.clip(light, 0.3, 1.7)[..., None], 0, 255)
    return Image.fromarray(pixels)


def _shadow(rng: np.random.Generator) -> tuple[float, float, float]:
    return float(rng.normal(0, 0.04)), float(rng.uniform(0.01, 0.06)), float(rng.uniform(0.2, 0.55))


def _with_shadow(canvas: Image.Image, drawn: Image.Image, shadow: tuple[float, float, float] | None) -> Image.Image:
    if shadow is None:
        return canvas
    right, down, darkness = shadow
    size = canvas.width
    offset = (1, 0, -right * size, 0, 1, -down * size)
    shape = drawn.getchannel("A").transform(canvas.size, Image.Transform.AFFINE, offset)
    shape = shape.filter(ImageFilter.BoxBlur(size * 0.015)).point(lambda value: int(value * darkness))
    canvas.paste((0, 0, 0), mask=shape)
    return canvas


class _Finish:
    """What the camera does to every frame of a clip: blur and noise."""

    def __init__(self, rng: np.random.Generator):
        self.blur = rng.uniform(0.3, 1.0) if rng.random() < 0.3 else 0.0
        self.noise = rng.uniform(2, 10) if rng.random() < 0.3 else 0.0

    def apply(self, canvas: Image.Image, rng: np.random.Generator) -> np.ndarray:
        pixels = np.asarray(canvas.filter(ImageFilter.GaussianBlur(self.blur)) if self.blur else canvas)
        if not self.noise:
            return pixels
        grain = rng.normal(0, self.noise, pixels.shape[:2]).astype(np.float32)[..., None]
        return np.clip(pixels + grain, 0, 255).astype(np.uint8)


# Ids


def _shifted(background: np.ndarray, ids: np.ndarray, camera: np.ndarray, size: int) -> tuple[Image.Image, np.ndarray]:
    """The part that the camera sees; objects move with it, so the window moves against it."""
    margin = background.shape[0] - size
    left, top = (int(np.clip(margin / 2 - step * size, 0, margin)) for step in camera)
    window = np.s_[top : top + size, left : left + size]
    return Image.fromarray(np.ascontiguousarray(background[window])), ids[window].copy()


def _clear(ids: np.ndarray, areas: np.ndarray) -> list[int]:
    seen = np.bincount(ids.ravel(), minlength=256)
    is_clear = (seen >= VISIBLE_SHARE * ids.size) & (seen >= CLEAR_PART * areas)
    return [int(number) for number in np.flatnonzero(is_clear) if number]


def _without_specks(ids: np.ndarray) -> np.ndarray:
    seen = np.bincount(ids.ravel(), minlength=256)
    return np.where((seen < VISIBLE_SHARE * ids.size)[ids], 0, ids).astype(np.uint8)
