"""Outlines: exact through pycocotools, holes and parts, saddle points, both conventions, fewer points on request."""

import numpy as np
import pytest
from pycocotools import mask as coco
from scipy import ndimage

from sam2_hf.processing.polygons import mask_rings

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools


def blob(seed, size=(40, 56)):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=size), 2.5)
    return noise > np.quantile(noise, 0.6)


def drawn(rings, size):
    """Outer rings minus holes, through pycocotools."""

    def fill(chosen):
        polygons = [ring.points.ravel().tolist() for ring in chosen]
        if not polygons:
            return np.zeros(size, bool)
        return coco.decode(coco.frPyObjects(polygons, *size)).any(axis=2)

    return fill([r for r in rings if not r.hole]) & ~fill([r for r in rings if r.hole])


def test_outlines_on_edges_come_back_exactly():
    for seed in range(25):
        mask = blob(seed)
        assert np.array_equal(drawn(mask_rings(mask), mask.shape), mask)


def test_a_single_pixel_a_full_and_an_empty_mask():
    one = np.zeros((3, 4), bool)
    one[1, 2] = True
    (ring,) = mask_rings(one)
    assert sorted(map(tuple, ring.points.tolist())) == [(2, 1), (2, 2), (3, 1), (3, 2)]
    assert mask_rings(one, "center")[0].points.tolist() == [[2, 1]]
    assert len(mask_rings(np.ones((3, 4), bool))[0].points) == 4
    assert mask_rings(np.zeros((3, 4), bool)) == []


def test_pixels_that_touch_at_a_corner_are_two_parts():
    mask = np.eye(2, dtype=bool)
    rings = mask_rings(mask)
    assert len(rings) == 2
    assert all(len(ring.points) == 4 for ring in rings)


def test_holes_know_the_ring_around_them_and_islands_in_holes_are_parts():
    mask = np.zeros((20, 20), bool)
    mask[1:19, 1:19] = True
    mask[4:16, 4:16] = False
    mask[7:13, 7:13] = True
    mask[9:11, 9:11] = False
    rings = mask_rings(mask)
    assert [ring.hole for ring in rings] == [False, True, False, True]
    assert [ring.parent for ring in rings] == [None, 0, None, 2]


def test_outlines_through_centres_run_through_pixels_of_the_mask():
    for seed in range(5):
        mask = blob(seed)
        for ring in mask_rings(mask, "center"):
            columns, rows = ring.points.astype(int).T
            assert mask[rows, columns].all()


def test_tolerance_leaves_out_points_and_keeps_the_shape():
    rows, columns = np.mgrid[:80, :80]
    disk = (rows - 40) ** 2 + (columns - 40) ** 2 < 30**2
    (exact,), (simple,) = mask_rings(disk), mask_rings(disk, tolerance=1.0)
    assert len(simple.points) < len(exact.points) / 3
    redrawn = drawn([simple], disk.shape)
    assert (redrawn & disk).sum() / (redrawn | disk).sum() > 0.95


def test_an_unknown_convention_is_refused():
    with pytest.raises(ValueError, match="'corner'"):
        mask_rings(np.ones((2, 2), bool), "corner")
