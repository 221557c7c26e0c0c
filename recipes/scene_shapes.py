"""Outlines of made-up objects: alpha maps, antialiased by drawing them larger."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

OVERSAMPLING = 2


def draw_shape(rng: np.random.Generator, side: int) -> Image.Image:
    """One made-up outline, an "L" picture of side x side with 255 inside."""
    canvas = Image.new("L", (side * OVERSAMPLING,) * 2)
    draw = ImageDraw.Draw(canvas)
    kinds, chances = zip(*SHAPES, strict=True)
    kinds[rng.choice(len(kinds), p=np.array(chances) / sum(chances))](draw, rng, side * OVERSAMPLING)
    return canvas.resize((side, side), Image.Resampling.BOX)


def outline(rng: np.random.Generator, side: float, roughness: float) -> list[tuple[float, float]]:
    """A closed smooth curve around the middle: waves on an ellipse."""
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    radius = np.ones_like(angles)
    for wave in range(2, 8):
        radius += roughness / wave * rng.normal() * np.cos(wave * angles + rng.uniform(0, 2 * np.pi))
    radius = np.clip(radius, 0.3, None)
    stretch = rng.uniform(0.45, 1.0)
    x, y = radius * np.cos(angles), stretch * radius * np.sin(angles)
    turn = rng.uniform(0, np.pi)
    x, y = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    scale = 0.49 * side / max(np.abs(x).max(), np.abs(y).max())
    return list(zip(side / 2 + scale * x, side / 2 + scale * y, strict=True))


def _blob(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: int) -> None:
    draw.polygon(outline(rng, side, rng.uniform(0.0, 0.6)), fill=255)


def _polygon(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: int) -> None:
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 10)))
    radius = side * rng.uniform(0.25, 0.5, len(angles))
    draw.polygon(
        list(zip(side / 2 + radius * np.cos(angles), side / 2 + radius * np.sin(angles), strict=True)), fill=255
    )


def _box(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: int) -> None:
    half_width, half_height = side / 2 * rng.uniform(0.3, 0.98, 2)
    corners = (side / 2 - half_width, side / 2 - half_height, side / 2 + half_width, side / 2 + half_height)
    if rng.random() < 0.4:
        draw.ellipse(corners, fill=255)
    else:
        draw.rounded_rectangle(corners, radius=rng.uniform(0, 0.5) * min(half_width, half_height), fill=255)


def _ring(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: int) -> None:
    """A blob with holes in it."""
    _blob(draw, rng, side)
    for _ in range(rng.integers(1, 3)):
        hole = side * rng.uniform(0.1, 0.35)
        x, y = side / 2 + rng.normal(0, 0.12 * side, 2)
        draw.polygon([(x + px - hole / 2, y + py - hole / 2) for px, py in outline(rng, hole, 0.3)], fill=0)


def _creature(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: int) -> None:
    """A body with limbs and a head."""
    middle = side / 2
    length, girth = side * rng.uniform(0.18, 0.3), side * rng.uniform(0.07, 0.2)
    body = [(x * length, y * girth) for x, y in _circle()]
    turn = rng.uniform(0, 2 * np.pi)
    spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    draw.polygon([tuple(point) for point in np.array(body) @ spin.T + middle], fill=255)
    for _ in range(rng.integers(2, 7)):
        start = np.array([rng.uniform(-0.9, 0.9) * length, 0.0]) @ spin.T + middle
        _limb(draw, rng, start, side)
    head = np.array([length * rng.uniform(0.9, 1.2), 0.0]) @ spin.T + middle
    radius = girth * rng.uniform(0.4, 0.9)
    draw.ellipse((*(head - radius), *(head + radius)), fill=255)


def _limb(draw: ImageDraw.ImageDraw, rng: np.random.Generator, start: np.ndarray, side: int) -> None:
    width = int(side * rng.uniform(0.02, 0.09)) + 1
    angle, point = rng.uniform(0, 2 * np.pi), start
    for _ in range(rng.integers(1, 4)):
        step = side * rng.uniform(0.06, 0.18)
        following = np.clip(point + step * np.array([np.cos(angle), np.sin(angle)]), width, side - width)
        draw.line((*point, *following), fill=255, width=width)
        draw.ellipse((*(following - width / 2), *(following + width / 2)), fill=255)
        point, angle = following, angle + rng.normal(0, 0.7)


def _union(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: int) -> None:
    """Several overlapping blobs."""
    for _ in range(rng.integers(2, 5)):
        part = side * rng.uniform(0.25, 0.6)
        x, y = rng.uniform(0.05 * side, 0.95 * side - part, 2)
        draw.polygon([(x + px, y + py) for px, py in outline(rng, part, 0.4)], fill=255)


def _circle() -> list[tuple[float, float]]:
    return [(np.cos(angle), np.sin(angle)) for angle in np.linspace(0, 2 * np.pi, 32, endpoint=False)]


SHAPES: tuple[tuple[Callable, float], ...] = (
    (_blob, 3.0),
    (_polygon, 1.5),
    (_box, 1.5),
    (_ring, 1.0),
    (_creature, 3.0),
    (_union, 1.5),
)
