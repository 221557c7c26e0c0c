"""Pictures whose pixels are numbers of objects: drawn, coloured, and as bytes of a file."""

import io
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

MAX_BYTE_ID = 255  # above, pictures of ids have 16 bits
MAX_SHORT_ID = 65535  # of a 16-bit picture


def draw_ids(numbered: Iterable[tuple[int, np.ndarray]], size: tuple[int, int]) -> np.ndarray:
    """Numbers (height, width) from pairs of number and mask; the last is on top, 0 is the background.

    16 bits where a number needs them, else 8.
    """
    pixels = np.zeros(size, dtype=np.uint16)
    largest = 0
    for number, mask in numbered:
        pixels[mask] = number
        largest = max(largest, number)
    return pixels if largest > MAX_BYTE_ID else pixels.astype(np.uint8)


def id_image(pixels: np.ndarray, palette: Sequence[int] | None = None) -> Image.Image:
    """Numbers as a picture; those of 8 bits have a palette, so that a viewer shows colours instead of black.

    Args:
        pixels: (height, width), 8 or 16 bits.
        palette: 256 colours, red, green and blue one after the other; default: that of DAVIS.
    """
    image = Image.fromarray(pixels)
    if pixels.dtype == np.uint8:
        image.putpalette(davis_palette() if palette is None else palette)
    return image


def davis_palette() -> list[int]:
    """The palette of DAVIS, 256 colours: bits of the number, spread over red, green and blue from the top."""
    numbers = np.arange(256)
    palette = np.zeros((256, 3), dtype=int)
    for place in range(8):
        for channel in range(3):
            palette[:, channel] |= (numbers >> (3 * place + channel) & 1) << (7 - place)
    return palette.ravel().tolist()


def png_bytes(image: Image.Image) -> bytes:
    """A picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
