"""Overlays as PNG files, written in a fraction of the usual time."""

import struct
import zlib

import numpy as np
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
RGB, BITS = 2, 8
UP = 2  # the filter of every row: the difference to the row above
LEVEL = 1


def fast_png(image: Image.Image) -> bytes:
    """A picture as the bytes of a PNG file with 8-bit red, green and blue.

    Every row has one filter and the compression is light: for a photograph about an eighth of Pillow's time, which
    tries five filters per row, for a file that is a fifth larger. The pixels are the same.
    """
    pixels = np.asarray(image.convert("RGB"))
    height, width, channels = pixels.shape
    rows = pixels.reshape(height, width * channels)
    filtered = np.empty((height, width * channels + 1), dtype=np.uint8)
    filtered[:, 0] = UP
    filtered[:1, 1:] = rows[:1]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])  # modulo 256, as the format wants it
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_FILTERED)
    data = packer.compress(filtered) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, BITS, RGB, 0, 0, 0)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
