"""Made-up clips with exact masks: shapes with surfaces that move, turn, grow, hide each other, under a drifting camera.

Every scene is a pure function of its random generator, so a data set of any size needs no disk.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter
from scene_shapes import draw_shape
from scene_textures import PictureLibrary, pattern, recolour

CLUTTER = 6  # small things on the background that are no objects, at most
VISIBLE_SHARE = 1 / 1500  # of the picture; an object of which less is seen counts as absent


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneOptions:
    """What scenes look like.

    Attributes:
        size: side in pixels.
        max_objects: at most so many objects; colonies of cells have more.
        colony_probability: of many small things of one kind, as under a microscope.
        several_surfaces: probability that an object has parts with surfaces of their own, as clothes are.
        real_background, real_surface, real_object: probabilities of pieces of real pictures, if there are any.
    """

    size: int = 192
    max_objects: int = 5
    colony_probability: float = 0.12
    several_surfaces: float = 0.45
    real_background: float = 0.7
    real_surface: float = 0.55
    real_object: float = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Motion:
    """Where a sprite is: centre and scale in shares of the side, angle in radians, and how they change per frame."""

    centre: np.ndarray
    velocity: np.ndarray
    scale: float
    growth: float
    angle: float
    spin: float
    sway: float  # amplitude of a shear that swings

    def matrix(self, frame: int, side: int, sprite: int, camera: np.ndarray) -> tuple[float, ...]:
        """Affine map from picture pixels to sprite pixels, as Pillow wants it."""
        scale = self.scale * self.growth**frame * side / sprite
        angle = self.angle + self.spin * frame
        shear = self.sway * np.sin(1.3 * frame)
        forward = scale * np.array([[np.cos(angle), -np.sin(angle) + shear], [np.sin(angle), np.cos(angle)]])
        backward = np.linalg.inv(forward)
        centre = (self.centre + self.velocity * frame + camera) * side
        shift = sprite / 2 - backward @ centre
        return (*backward[0], shift[0], *backward[1], shift[1])


class SceneRenderer:
    """Renders clips.

    Args:
        options: what they look like.
        library: real pictures to take pieces from.
    """

    def __init__(self, options: SceneOptions, library: PictureLibrary | None = None):
        self.options = options
        self.library = library or PictureLibrary()

    def render(self, rng: np.random.Generator, num_frames: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """One clip: frames (frames, size, size, 3) uint8 and object ids (frames, size, size) uint8, 0 background."""
        size = self.options.size
        is_colony = rng.random() < self.options.colony_probability
        background = self._background(rng, is_colony, num_frames)
        sprites = self._colony(rng) if is_colony else self._objects(rng)
        camera_speed = rng.normal(0, 0.02, 2) * (rng.random() < 0.6)
        light = rng.normal(0, 0.03) * (rng.random() < 0.5)
        finish = _Finish.drawn(rng)
        frames, ids = [], []
        for frame in range(num_frames):
            camera = camera_speed * frame
            canvas = _shifted(background, camera, size)
            labels = np.zeros((size, size), dtype=np.uint8)
            for number, (sprite, motion) in enumerate(sprites, 1):
                matrix = motion.matrix(frame, size, sprite.width, camera)
                warped = sprite.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
                alpha = warped.getchannel("A")
                canvas.paste(warped, mask=alpha)
                labels[np.asarray(alpha) > 127] = number
            frames.append(finish.apply(canvas, rng, max(0.3, 1 + light * frame)))
            ids.append(_without_specks(labels))
        return np.stack(frames), np.stack(ids)

    # Backgrounds

    def _background(self, rng: np.random.Generator, is_colony: bool, num_frames: int) -> Image.Image:
        """Larger than the picture where the camera moves."""
        side = self.options.size if num_frames == 1 else int(1.4 * self.options.size)
        if is_colony:
            return Image.fromarray(_plain(rng, side))
        if self.library.pictures and rng.random() < self.options.real_background:
            background = Image.fromarray(self.library.piece(rng, side, side, (0.35, 1.0)))
        else:
            background = Image.fromarray(pattern(rng, side, side))
        for _ in range(rng.integers(0, CLUTTER + 1)):
            thing = int(side * rng.uniform(0.03, 0.2))
            sprite = Image.fromarray(self._surface(rng, thing))
            place = tuple(int(v) for v in rng.integers(-thing // 2, side - thing // 2, 2))
            background.paste(sprite, place, mask=draw_shape(rng, thing))
        return background

    # Objects

    def _objects(self, rng: np.random.Generator) -> list[tuple[Image.Image, _Motion]]:
        count = int(rng.integers(1, self.options.max_objects + 1))
        return [(self._sprite(rng), _motion(rng, rng.uniform(0.12, 0.75))) for _ in range(count)]

    def _sprite(self, rng: np.random.Generator) -> Image.Image:
        if self.library.cut_outs and rng.random() < self.options.real_object:
            return self._real_object(rng)
        side = int(self.options.size * rng.uniform(0.5, 0.8))
        surface = self._surface(rng, side)
        if rng.random() < self.options.several_surfaces:
            for _ in range(rng.integers(1, 4)):
                part = int(side * rng.uniform(0.3, 0.9))
                patch, place = Image.fromarray(self._surface(rng, part)), rng.integers(-part // 3, side - part // 2, 2)
                whole = Image.fromarray(surface)
                whole.paste(patch, tuple(int(v) for v in place), mask=draw_shape(rng, part))
                surface = np.asarray(whole)
        sprite = Image.fromarray(_shaded(rng, surface))
        sprite.putalpha(self._alpha(rng, side))
        return sprite

    def _alpha(self, rng: np.random.Generator, side: int) -> Image.Image:
        """A made-up outline, or that of a real object."""
        if self.library.cut_outs and rng.random() < 0.3:
            mask = self.library.cut_outs[rng.integers(len(self.library.cut_outs))].mask
            return _square(Image.fromarray(mask.astype(np.uint8) * 255), side)
        return draw_shape(rng, side)

    def _real_object(self, rng: np.random.Generator) -> Image.Image:
        cut_out = self.library.cut_outs[rng.integers(len(self.library.cut_outs))]
        sprite = Image.fromarray(recolour(rng, cut_out.pixels, 0.6))
        sprite.putalpha(Image.fromarray(cut_out.mask.astype(np.uint8) * 255))
        side = int(self.options.size * rng.uniform(0.5, 0.9))
        return _square(sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else sprite, side)

    def _surface(self, rng: np.random.Generator, side: int) -> np.ndarray:
        if self.library.pictures and rng.random() < self.options.real_surface:
            return self.library.piece(rng, side, side, (0.08, 0.4))
        return pattern(rng, side, side)

    def _colony(self, rng: np.random.Generator) -> list[tuple[Image.Image, _Motion]]:
        """Many small blobs of one kind with soft edges."""
        side = int(self.options.size * 0.3)
        colour, diameter = np.clip(rng.normal(128, 80, 3) * (rng.random() < 0.5) + rng.uniform(0, 255), 0, 255), 0.0
        diameter = rng.uniform(0.05, 0.2)
        sprites = []
        for _ in range(int(rng.integers(6, 28))):
            surface = np.clip(colour + rng.normal(0, 12) + rng.normal(0, 6, (side, side, 1)), 0, 255).astype(np.uint8)
            sprite = Image.fromarray(_shaded(rng, surface))
            sprite.putalpha(draw_shape(rng, side) if rng.random() < 0.1 else _cell(rng, side))
            sprites.append((sprite, _motion(rng, diameter * rng.uniform(0.6, 1.5), calm=True)))
        return sprites


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finish:
    """What the camera does to every frame of a clip: blur, motion blur and noise."""

    blur: float
    smear: tuple[int, int]
    noise: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "_Finish":
        smear = tuple(int(v) for v in rng.integers(-3, 4, 2)) if rng.random() < 0.1 else (0, 0)
        return cls(
            blur=rng.uniform(0.3, 1.2) if rng.random() < 0.4 else 0.0,
            smear=smear,
            noise=rng.uniform(2, 12) if rng.random() < 0.4 else 0.0,
        )

    def apply(self, canvas: Image.Image, rng: np.random.Generator, light: float) -> np.ndarray:
        if self.blur:
            canvas = canvas.filter(ImageFilter.GaussianBlur(self.blur))
        pixels = np.asarray(canvas)
        if self.smear == (0, 0) and not self.noise and light == 1:
            return pixels
        values = pixels.astype(np.float32)
        if self.smear != (0, 0):
            values = 0.5 * values + 0.5 * np.roll(values, self.smear, axis=(0, 1))
        if self.noise:
            values = values + rng.normal(0, self.noise, values.shape[:2]).astype(np.float32)[..., None]
        return np.clip(values * light, 0, 255).astype(np.uint8)


def _motion(rng: np.random.Generator, scale: float, calm: bool = False) -> _Motion:
    pace = 0.2 if calm else rng.choice([0.2, 1.0, 2.0])
    return _Motion(
        centre=rng.uniform(0.08, 0.92, 2),
        velocity=pace * rng.normal(0, 0.025, 2),
        scale=scale,
        growth=float(np.exp(pace * rng.normal(0, 0.025))),
        angle=rng.uniform(-np.pi, np.pi) if rng.random() < 0.5 else rng.normal(0, 0.2),
        spin=pace * rng.normal(0, 0.06),
        sway=pace * rng.uniform(0, 0.08),
    )


def _shifted(background: Image.Image, camera: np.ndarray, size: int) -> Image.Image:
    """The part of the background that the camera sees; objects move with it, so the window moves against it."""
    margin = background.width - size
    left, top = (int(np.clip(margin / 2 - step * size, 0, margin)) for step in camera)
    return background.crop((left, top, left + size, top + size))


def _plain(rng: np.random.Generator, side: int) -> np.ndarray:
    colour = np.clip(rng.uniform(0, 255) + rng.normal(0, 25, 3) * (rng.random() < 0.5), 0, 255)
    if rng.random() < 0.5:
        return np.clip(colour + 0.15 * (pattern(rng, side, side).astype(np.float32) - 128), 0, 255).astype(np.uint8)
    return np.broadcast_to(colour.astype(np.uint8), (side, side, 3)).copy()


def _cell(rng: np.random.Generator, side: int) -> Image.Image:
    """A round shape with a soft edge."""
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32) / side - 0.5
    angle, stretch = rng.uniform(0, np.pi), rng.uniform(0.55, 1.0)
    along = columns * np.cos(angle) + rows * np.sin(angle)
    across = (rows * np.cos(angle) - columns * np.sin(angle)) / stretch
    softness = rng.uniform(8, 40)
    return Image.fromarray((np.clip((0.45 - np.hypot(along, across)) * softness + 0.5, 0, 1) * 255).astype(np.uint8))


def _shaded(rng: np.random.Generator, surface: np.ndarray) -> np.ndarray:
    """Light from one side."""
    if rng.random() < 0.5:
        return surface
    height, width = surface.shape[:2]
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    light = 1 + rng.uniform(0.05, 0.4) * (rows * np.sin(angle) + columns * np.cos(angle))
    return np.clip(surface * light[..., None], 0, 255).astype(np.uint8)


def _square(picture: Image.Image, side: int) -> Image.Image:
    """Fits a picture into a transparent square."""
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    square = Image.new(picture.mode, (side, side))
    square.paste(picture.resize(size, Image.Resampling.BILINEAR), ((side - size[0]) // 2, (side - size[1]) // 2))
    return square


def _without_specks(ids: np.ndarray) -> np.ndarray:
    """Objects of which almost nothing is seen are absent."""
    areas = np.bincount(ids.ravel())
    return np.where((areas < VISIBLE_SHARE * ids.size)[ids], 0, ids).astype(np.uint8)
