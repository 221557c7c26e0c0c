"""Masks, points and boxes drawn over a picture, with Pillow and NumPy only."""

import colorsys
import zlib
from collections.abc import Hashable

import numpy as np
from PIL import Image, ImageDraw

GOLDEN_ANGLE = 0.618033988749895  # successive hues this far apart never come close to each other


def colour_of(object_id: Hashable) -> tuple[int, int, int]:
    """The same clear colour for the same id, always."""
    number = object_id if isinstance(object_id, int) else zlib.crc32(str(object_id).encode())
    hue = (0.58 + number * GOLDEN_ANGLE) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def line_width(size: tuple[int, int]) -> int:
    """Pixels of a line that is seen on a picture of (width, height)."""
    return max(1, round(max(size) / 400))


def draw_mask(picture: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int], alpha: float) -> None:
    """Tints the inside of a mask and draws its outline into `picture` (height, width, 3) uint8, in place."""
    tint = np.asarray(colour, dtype=np.float32)
    picture[mask] = ((1 - alpha) * picture[mask] + alpha * tint).astype(np.uint8)
    picture[outline(mask, line_width(mask.shape[::-1]))] = colour


def outline(mask: np.ndarray, width: int) -> np.ndarray:
    """The inner border of a bool mask, `width` pixels thick."""
    inner = mask.copy()
    for _ in range(width):
        padded = np.pad(inner, 1)
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def draw_prompt(image: Image.Image, prompt, colour: tuple[int, int, int]) -> None:
    """Draws the box and the points of a prompt: filled discs are inside, crossed ones outside."""
    canvas = ImageDraw.Draw(image)
    width = line_width(image.size)
    if prompt.box:
        canvas.rectangle([tuple(prompt.box[:2]), tuple(prompt.box[2:])], outline=colour, width=width)
    radius = 3 * width
    for (x, y), label in zip(prompt.points, prompt.labels, strict=True):
        disc = [(x - radius, y - radius), (x + radius, y + radius)]
        canvas.ellipse(disc, fill=colour if label == 1 else (0, 0, 0), outline=(255, 255, 255), width=width)
        if label == 0:
            canvas.line([(x - radius, y), (x + radius, y)], fill=(255, 255, 255), width=width)
