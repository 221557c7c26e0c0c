"""Run lengths from outside are checked before pycocotools, which checks nothing, sees them."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from pycocotools import mask as coco

from sam2_hf.processing.rle import Masks, check_rle, decode_rle, polygons_to_mask

SIZE = (37, 23)


def masks() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    made = [np.zeros(SIZE, bool), np.ones(SIZE, bool), np.eye(*SIZE, dtype=bool)]
    for share in (0.01, 0.1, 0.5, 0.9, 0.99):
        made += [generator.random(SIZE) < share for _ in range(20)]
    return made


def test_every_mask_of_ours_passes_as_string_bytes_and_numbers():
    for mask in masks():
        entry = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        column = mask.flatten(order="F").astype(np.int8)
        edges = np.flatnonzero(np.diff(column)) + 1
        counts = np.diff([0, *edges, column.size]).tolist()
        numbers = [0, *counts] if column[0] else counts
        for given in (entry["counts"], entry["counts"].decode(), numbers, tuple(numbers), np.array(numbers)):
            assert np.array_equal(decode_rle({"size": list(SIZE), "counts": given}), mask)
            kept = Masks([{"size": list(SIZE), "counts": given}], SIZE)
            assert kept.rle[0]["counts"] == entry["counts"].decode() and kept.areas()[0] == mask.sum()


LARGE = coco.encode(np.asfortranarray(np.eye(3000, 2000, dtype=np.uint8)))


def test_large_masks_pass():
    assert decode_rle(LARGE).sum() == 2000


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"size": [4, 4], "counts": [3, 4]}, "the runs of a mask of 4 x 4 fill 7 of 16 pixels"),
        ({"size": [4, 4], "counts": [30, 4]}, "fill 34 of 16 pixels"),
        ({"size": [4, 4], "counts": [20, -4]}, "a run of -4 pixels"),
        ({"size": [4, 4], "counts": [3.5, 12.5]}, "whole numbers"),
        ({"size": [10**9, 10**9], "counts": [0, 10**18]}, "is too large for run lengths"),
        ({"size": [2, 2], "counts": [2**62, 2**62, 2**62, 2**62 + 4]}, "fill 18446744073709551620 of 4 pixels"),
        ({"size": [-4, -4], "counts": [16]}, r"is \[height, width\], got \[-4, -4\]"),
        ({"size": [4], "counts": [4]}, r"is \[height, width\]"),
        ({"size": [4, 4], "counts": ""}, "a string or whole numbers"),
        ({"size": [4, 4], "counts": None}, "a string or whole numbers"),
        ({"size": [4, 4], "counts": "\u00e9"}, "are ASCII"),
        ({"size": [4, 4], "counts": "~~~"}, "damaged or cut off"),
        ({"size": [4, 4], "counts": LARGE["counts"][:-1]}, "damaged or cut off|fill"),
        ({"size": [4, 4], "counts": b"o" * 40 + b"0"}, "damaged"),
        ({"size": [4, 4]}, "a dictionary with size and counts"),
        ([1, 2], "a dictionary with size and counts"),
    ],
)
def test_runs_that_do_not_fill_the_mask_are_refused(entry, message):
    """pycocotools gives uninitialised memory for too few, and writes past its end for too many."""
    with pytest.raises(ValueError, match=message):
        decode_rle(entry)


def test_masks_check_what_they_are_given():
    with pytest.raises(ValueError, match="fill 7 of 16"):
        Masks([{"size": [4, 4], "counts": [3, 4]}], (4, 4))
    check_rle({"size": [0, 5], "counts": []})


def test_polygons_are_pycocotools_own():
    polygons = [[2.0, 3.0, 15.0, 4.0, 9.0, 30.0], [16, 20, 22, 20, 22, 35, 16, 35]]
    expected = decode_rle(coco.merge(coco.frPyObjects(polygons, *SIZE)))
    assert np.array_equal(polygons_to_mask(polygons, SIZE), expected) and expected.any()


@pytest.mark.parametrize(
    "polygon",
    [[], [1, 2], [1, 2, 3, 4], [1, 2, 3, 4, 5], [0, 0, float("nan"), 4, 5, 6], [0, 0, 1e9, 4, 5, 6], "abc", 5],
)
def test_polygons_that_would_take_all_memory_or_crash_are_refused(polygon):
    with pytest.raises(ValueError, match="a polygon"):
        polygons_to_mask([polygon], SIZE)


def test_no_memory_for_a_mask_is_an_error_and_no_crash():
    """Where the C library gets no memory, it writes to address 0: tried in a process with little of it."""
    code = """
        import resource
        from sam2_hf.processing.rle import decode_rle
        resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
        try:
            decode_rle({"size": [60000, 60000], "counts": [0, 60000 * 60000]})
        except MemoryError:
            print("told")
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert ended.stdout.strip() == "told", ended.stderr
