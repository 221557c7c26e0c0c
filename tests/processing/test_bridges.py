"""One polygon per mask: filled as OpenCV fills it, exact for holes, a line of pixels between parts."""

import numpy as np
import pytest
from pycocotools import mask as coco

from sam2_hf.processing.bridges import center_polygons, edge_polygons, fill_polygons, joined, polygon_fit
from sam2_hf.processing.polygons import count_parts, mask_rings
from tests.pipelines.made_results import blob, shapes

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
RING, PARTS, NESTED, PIXEL, FULL, EMPTY = range(6)


def area(polygon: np.ndarray) -> float:
    x, y = polygon.T
    return abs(float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))) / 2


def test_filling_is_that_of_opencv_pixel_by_pixel():
    cv2 = pytest.importorskip("cv2")
    generator = np.random.default_rng(0)
    for _ in range(300):
        height, width = generator.integers(1, 60, 2)
        count = generator.integers(1, 12)
        points = np.stack([generator.integers(0, width, count), generator.integers(0, height, count)], axis=1)
        expected = np.zeros((height, width), np.uint8)
        cv2.fillPoly(expected, [points.astype(np.int32)], 1)
        assert np.array_equal(fill_polygons([points], (height, width)), expected.astype(bool))


@pytest.mark.parametrize("blur", [1.0, 2.5, 5.0])
def test_split_polygons_with_their_holes_come_back_exactly(blur):
    for seed in range(8):
        mask = blob(seed, blur=blur)
        fit = polygon_fit(mask, center_polygons(mask, "split"))
        assert (fit.iou, fit.bridged, fit.lost) == (1.0, 0, 0)


def test_bridged_parts_lose_nothing_and_say_how_many_pixels_they_add():
    for seed in range(8):
        mask = blob(seed)
        (polygon,) = center_polygons(mask)
        filled = fill_polygons([polygon], mask.shape)
        fit = polygon_fit(mask, [polygon])
        assert fit.lost == 0 and fit.bridged == (filled & ~mask).sum()
        assert fit.iou == mask.sum() / filled.sum()
        parts, _ = count_parts(mask)
        assert fit.bridged < 12 * parts


def test_bridge_between_two_parts_is_the_shortest_line():
    mask = shapes()[PARTS]
    (polygon,) = center_polygons(mask)
    assert polygon_fit(mask, [polygon]).bridged == 48  # from (11, 8) to (60, 40)


def test_hole_is_cut_in_without_a_trace():
    for mask in (shapes()[RING], shapes()[NESTED]):
        assert len(center_polygons(mask, "split")) == count_parts(mask)[0]
        assert polygon_fit(mask, center_polygons(mask, "split")).iou == 1.0


def test_largest_part_is_kept_with_its_holes():
    mask = shapes()[PARTS] | shapes()[RING] & (np.arange(90) < 55)
    (polygon,) = center_polygons(mask, "largest")
    expected = shapes()[RING]
    assert np.array_equal(fill_polygons([polygon], mask.shape), expected)


def test_what_is_too_small_for_a_polygon_is_its_rectangle():
    assert center_polygons(shapes()[PIXEL])[0].tolist() == [[89, 59]] * 4
    line = np.zeros((5, 7), bool)
    line[2, 1:6] = True
    assert center_polygons(line)[0].tolist() == [[1, 2], [5, 2], [5, 2], [1, 2]]
    two = np.zeros((5, 7), bool)
    two[[1, 2], [1, 2]] = True
    (polygon,) = center_polygons(two)
    assert len(polygon) == 3 and polygon_fit(two, [polygon]).iou == 1.0
    assert center_polygons(shapes()[EMPTY]) == []
    assert polygon_fit(shapes()[EMPTY], []).iou == 1.0
    assert polygon_fit(shapes()[FULL], center_polygons(shapes()[FULL])).iou == 1.0


def test_tolerance_leaves_out_points_and_the_fit_says_what_it_costs():
    for seed in range(5):
        mask = blob(seed, (80, 120), 6)
        exact, simple = center_polygons(mask), center_polygons(mask, tolerance=1.5)
        assert len(simple[0]) < len(exact[0]) / 2
        assert 0.85 < polygon_fit(mask, simple).iou < 1.0


def test_joined_polygons_on_edges_have_the_area_of_the_mask_and_come_back_through_pycocotools():
    for seed in range(8):
        mask = blob(seed)
        polygons = edge_polygons(mask)
        assert sum(map(area, polygons)) == mask.sum()
        drawn = coco.decode(coco.frPyObjects([p.ravel().astype(float).tolist() for p in polygons], *mask.shape))
        assert np.array_equal(drawn.any(axis=2), mask)


def test_single_ring_is_left_as_it_is():
    (ring,) = mask_rings(shapes()[FULL], "center")
    assert np.array_equal(joined([ring.points]), ring.points)


def test_parts_and_holes_are_counted_as_outlines_count_them():
    for seed in range(12):
        mask = blob(seed, blur=1.0)
        rings = mask_rings(mask)
        assert count_parts(mask) == (sum(not r.hole for r in rings), sum(r.hole for r in rings))
    assert [count_parts(mask) for mask in shapes()] == [(1, 1), (2, 0), (2, 2), (1, 0), (1, 0), (0, 0)]


def test_unknown_choice_of_parts_is_refused():
    with pytest.raises(ValueError, match="'all'"):
        center_polygons(shapes()[RING], "all")
