import numpy as np
import pytest
from PIL import Image

from sam2_hf.pipelines.writing.contact_sheet import BACKGROUND, GAP, contact_sheet, evenly
from tests.tiny import scene_image


@pytest.mark.parametrize(("count", "columns", "rows", "width"), [(1, 1, 1, 480), (5, 3, 2, 480), (64, 8, 8, 200)])
def test_sheet_has_a_tile_per_picture_in_reading_order(tmp_path, count, columns, rows, width):
    scene_image(600, 900).save(tmp_path / "picture.png")
    sheet = contact_sheet([(f"a/{number}.png", tmp_path / "picture.png") for number in range(count)])
    step_x, step_y = width + GAP, round(0.75 * width) + 18 + GAP
    assert sheet.size == (columns * step_x + GAP, rows * step_y + GAP)
    pixels = np.asarray(sheet)
    for number in range(columns * rows):
        middle = pixels[
            GAP + step_y * (number // columns) + round(0.375 * width), GAP + step_x * (number % columns) + 45
        ]
        assert (tuple(middle) != BACKGROUND) == (number < count)


def test_long_names_keep_their_end_and_wide_pictures_fit(tmp_path):
    Image.new("RGB", (4000, 10), (200, 0, 0)).save(tmp_path / "wide.png")
    assert contact_sheet([("x" * 500 + "/end.png", tmp_path / "wide.png")]).width == 480 + 2 * GAP


def test_many_pictures_are_thinned_out_evenly():
    assert evenly(range(100), 4) == [0, 33, 66, 99]
    assert evenly(range(3), 4) == [0, 1, 2]
