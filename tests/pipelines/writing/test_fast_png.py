"""PNG files of overlays: read back, they have the pixels that were written."""

import io

import numpy as np
import pytest
from PIL import Image

from sam2_hf.pipelines.writing.fast_png import fast_png
from tests.tiny import scene


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (64, 97)])
def test_pixels_are_those_that_were_written(size):
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    for pixels in (noise, np.full((*size, 3), 255, np.uint8)):
        read = Image.open(io.BytesIO(fast_png(Image.fromarray(pixels))))
        assert (read.format, read.mode) == ("PNG", "RGB")
        assert np.array_equal(np.asarray(read), pixels)


def test_any_mode_is_written_in_colour():
    grey = Image.fromarray(scene(30, 40)).convert("L")
    read = Image.open(io.BytesIO(fast_png(grey)))
    assert np.array_equal(np.asarray(read), np.asarray(grey.convert("RGB")))
