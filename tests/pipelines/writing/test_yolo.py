"""YOLO lines, read as its loaders read them: cut or rounded to pixels, filled by OpenCV."""

import numpy as np
import pytest

from sam2_hf.errors import OutputExistsError
from sam2_hf.processing.bridges import fill_polygons
from tests.pipelines.made_results import HEIGHT, WIDTH, blob, made, shapes

RING, PARTS, NESTED, PIXEL, FULL, EMPTY = range(6)


def read(line: str, size: tuple[int, int], round_to_pixels: bool = False) -> tuple[int, np.ndarray]:
    """Class and mask of a line."""
    number, *values = line.split()
    points = np.array(values, float).reshape(-1, 2) * (size[1], size[0])
    points = (points.round() if round_to_pixels else points).astype(np.int32)
    try:
        import cv2
    except ImportError:
        return int(number), fill_polygons([points.astype(int)], size)
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [points], 1)
    return int(number), mask.astype(bool)


def without_holes_and_parts(seed: int, size=(120, 170)) -> np.ndarray:
    from scipy import ndimage

    numbered, _ = ndimage.label(blob(seed, size, 5))
    return ndimage.binary_fill_holes(numbered == np.bincount(numbered.ravel())[1:].argmax() + 1)


@pytest.mark.parametrize("round_to_pixels", [False, True])
def test_shapes_without_holes_and_parts_come_back_with_iou_1(round_to_pixels):
    masks = np.stack([without_holes_and_parts(seed) for seed in range(20)])
    for line, mask in zip(made(masks).to_yolo(), masks, strict=True):
        assert np.array_equal(read(line, mask.shape, round_to_pixels)[1], mask)


@pytest.mark.parametrize("round_to_pixels", [False, True])
def test_holes_come_back_with_iou_1(round_to_pixels):
    (line,) = made(shapes()[[RING]]).to_yolo()
    assert np.array_equal(read(line, (HEIGHT, WIDTH), round_to_pixels)[1], shapes()[RING])


def test_parts_are_bridged_split_or_left_out():
    both = made(shapes()[[PARTS]], class_ids=np.array([4]), labels=("cat",))
    mask = shapes()[PARTS]
    (bridged,), (fit,) = both.to_yolo(), both.yolo_fit()
    number, drawn = read(bridged, mask.shape)
    assert number == 4 and (drawn & mask).sum() == mask.sum()
    assert (drawn & ~mask).sum() == fit.bridged == 48
    assert fit.iou == mask.sum() / drawn.sum()
    split = [read(line, mask.shape)[1] for line in both.to_yolo(parts="split")]
    assert len(split) == 2 and np.array_equal(split[0] | split[1], mask)
    assert both.yolo_fit(parts="split")[0].iou == 1.0
    (largest,) = both.to_yolo(parts="largest")
    assert read(largest, mask.shape)[1].sum() == 15 * 28 == mask.sum() - both.yolo_fit(parts="largest")[0].lost


def test_reported_fit_is_what_the_reader_sees():
    masks = np.stack([blob(seed) for seed in range(10)])
    for tolerance in (0.0, 1.0):
        result = made(masks)
        fits = result.yolo_fit(tolerance=tolerance)
        for line, fit, mask in zip(result.to_yolo(tolerance=tolerance), fits, masks, strict=True):
            drawn = read(line, mask.shape)[1]
            assert fit.iou == (drawn & mask).sum() / (drawn | mask).sum()
            assert (fit.bridged, fit.lost) == ((drawn & ~mask).sum(), (mask & ~drawn).sum())


def test_pixels_lines_and_pictures_as_wide_as_they_get_come_back():
    wide = np.zeros((2, 20, 7000), bool)
    wide[0, 3:9, 10:6999] = True
    wide[1, -1, -1] = True
    for line, mask in zip(made(wide).to_yolo(), wide, strict=True):
        for round_to_pixels in (False, True):
            assert np.array_equal(read(line, mask.shape, round_to_pixels)[1], mask)
    assert len(made(shapes()[[PIXEL]]).to_yolo()[0].split()) == 9
    (full,) = made(shapes()[[FULL]]).to_yolo()
    assert read(full, (HEIGHT, WIDTH))[1].all()


def test_numbers_have_6_decimals_and_a_quarter_of_a_pixel():
    (line,) = made(shapes()[[PIXEL]]).to_yolo()
    assert line == " ".join(["0", *["0.991667", "0.987500"] * 4])  # (89.25 / 90, 59.25 / 60)


def test_class_numbers_start_at_0_and_must_be_known_for_all_or_none():
    result = made(shapes()[:3], class_ids=np.array([2, 0, 1]), labels=("c", "a", "b"))
    assert [line.split()[0] for line in result.to_yolo()] == ["2", "0", "1"]
    assert {line.split()[0] for line in made(shapes()[:3]).to_yolo()} == {"0"}
    with pytest.raises(ValueError, match=r"objects \[2\] have no class but others have"):
        made(shapes()[:3], class_ids=np.array([2, -1, 1])).to_yolo()


def test_text_file_has_a_line_per_object_and_is_empty_without_one(tmp_path):
    path = made(shapes()).save_txt(tmp_path / "labels" / "a.txt")
    assert path.read_text().splitlines() == made(shapes()).to_yolo()
    assert len(path.read_text().splitlines()) == 5  # the empty mask has none
    assert made(shapes()[:0]).save_txt(tmp_path / "none.txt").read_bytes() == b""
    with pytest.raises(OutputExistsError):
        made(shapes()).save_txt(path)
    made(shapes()[[EMPTY]]).save_txt(path, overwrite=True, parts="split")
    assert path.read_bytes() == b""
