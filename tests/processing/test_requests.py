import numpy as np
import pytest
import torch

from sam2_hf.errors import PromptError
from sam2_hf.processing.requests import requests_from, requests_of_pictures

MASK = np.zeros((6, 9), np.uint8)


def prompts(**given) -> list[tuple]:
    return [(r.points, r.labels, r.box) for r in requests_from(**given)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"points": [5, 6]}, [([[5, 6]], [1], [])]),
        ({"points": [[5, 6], [7, 8]]}, [([[5, 6], [7, 8]], [1, 1], [])]),  # one object with two points
        ({"points": [[[5, 6]], [[7, 8], [9, 1]]]}, [([[5, 6]], [1], []), ([[7, 8], [9, 1]], [1, 1], [])]),
        ({"points": [[[[5, 6]]]]}, [([[5, 6]], [1], [])]),
        ({"points": [5, 6], "labels": 0}, [([[5, 6]], [0], [])]),
        ({"points": [[5, 6], [7, 8]], "labels": [1, 0]}, [([[5, 6], [7, 8]], [1, 0], [])]),
        ({"boxes": [1, 2, 3, 4]}, [([], [], [1, 2, 3, 4])]),
        ({"boxes": [[1, 2, 3, 4], [5, 6, 7, 8]]}, [([], [], [1, 2, 3, 4]), ([], [], [5, 6, 7, 8])]),
        (
            {"boxes": [[1, 2, 3, 4], [5, 6, 7, 8]], "points": [[[5, 6]], []]},
            [([[5, 6]], [1], [1, 2, 3, 4]), ([], [], [5, 6, 7, 8])],
        ),
    ],
)
def test_depth_decides_what_is_meant(given, expected):
    assert prompts(**given) == expected
    if is_regular(given):
        as_arrays = {name: np.array(value) for name, value in given.items()}
        assert prompts(**as_arrays) == expected
        assert prompts(**{name: torch.as_tensor(value) for name, value in as_arrays.items()}) == expected


def is_regular(given: dict) -> bool:
    """Whether an array can hold it."""
    try:
        return all(np.array(value).size for value in given.values())
    except ValueError:
        return False


def test_masks_of_one_or_several_objects():
    assert [r.mask.shape for r in requests_from(masks=MASK)] == [(6, 9)]
    assert [r.mask.shape for r in requests_from(masks=np.stack([MASK, MASK]))] == [(6, 9)] * 2
    different = requests_from(masks=[MASK, np.zeros((3, 4))])  # sizes of their own
    assert [r.mask.shape for r in different] == [(6, 9), (3, 4)]
    mixed = requests_from(masks=[MASK, None], boxes=[[], [1, 2, 3, 4]])
    assert [r.is_empty for r in mixed] == [False, False] and mixed[1].box == [1, 2, 3, 4]


def test_explicit_objects_have_ids_frames_and_names_of_their_own():
    first, second, third = requests_from(
        objects=[
            {"id": "a", "points": [5, 6], "label": "cat"},
            {"id": "a", "frame": 4, "points": [[5, 6], [7, 8]], "labels": [1, 0]},
            {"box": (1, 2, 3, 4), "mask": MASK},
        ],
        frame=2,
    )
    assert (first.object_id, first.frame, first.label, first.points) == ("a", 2, "cat", [[5, 6]])
    assert (second.frame, second.labels) == (4, [1, 0])
    assert (third.object_id, third.box, third.mask.shape) == (1, [1, 2, 3, 4], (6, 9))


def test_objects_without_an_id_get_numbers_that_nobody_has():
    objects = [
        {"id": 2, "points": [5, 6]},
        {"points": [7, 8]},
        {"points": [9, 1], "frame": 3},
        {"id": 1, "box": [1, 2, 3, 4]},
    ]
    assert [request.object_id for request in requests_from(objects=objects)] == [2, 3, 4, 1]


@pytest.mark.parametrize("make", [list, np.array, torch.tensor])
def test_objects_take_lists_arrays_and_tensors(make):
    (request,) = requests_from(objects=[{"points": make([5.0, 6.0]), "labels": 0}])
    assert (request.points, request.labels) == ([[5, 6]], [0])
    (request,) = requests_from(objects=[{"points": make([[5.0, 6.0], [7.0, 8.0]]), "labels": make([1, 0])}])
    assert (request.points, request.labels) == ([[5, 6], [7, 8]], [1, 0])
    (request,) = requests_from(objects=[{"box": make([1.0, 2.0, 3.0, 4.0])}])
    assert request.box == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"points": [[[1, 2]], [[3, 4]]], "boxes": [[1, 2, 3, 4]] * 3}, "`points` has 2 objects but `boxes` has 3"),
        ({"points": [[1, 2], [3, 4], [5, 6]], "labels": [1, 0]}, "3 points but 2 labels"),
        ({"boxes": [1, 2, 3, 4], "masks": np.stack([MASK, MASK])}, "has 1 objects but `masks` has 2"),
        ({"masks": np.zeros((1, 1, 6, 9))}, r"got \(1, 1, 6, 9\)"),
        ({"points": [1, 2], "object_ids": [4, 5]}, "`object_ids` has 2 entries, but there are 1 objects"),
        ({"objects": [{"points": [1, 2]}], "boxes": [1, 2, 3, 4]}, "leave out `boxes`"),
        ({"objects": {"points": [1, 2]}}, "a list of dicts, one per object, got dict"),
        ({"objects": [{"id": 3}]}, "object 3 has no prompt"),
        ({"objects": [{"boxes": [1, 2, 3, 4]}]}, "there is no 'boxes'"),
        ({"objects": [{"id": 1, "points": [1, 2]}, {"id": 1, "box": [1, 2, 3, 4]}]}, "object 1 is given twice"),
    ],
)
def test_what_cannot_be_meant_names_the_value(given, message):
    with pytest.raises(PromptError, match=message):
        requests_from(**given)


def test_one_level_more_is_one_entry_per_picture():
    first, second = requests_of_pictures(2, boxes=[[[1, 2, 3, 4]], [[1, 2, 3, 4], [5, 6, 7, 8]]])
    assert (len(first), len(second)) == (1, 2)
    everywhere = requests_of_pictures(2, points=[[[1, 2]], [[3, 4]]])
    assert [r.points for r in everywhere] == [[[1, 2]], [[3, 4]]]
    with pytest.raises(PromptError, match="entries for 1 pictures, but there are 2"):
        requests_of_pictures(2, points=[[[[1, 2]]]])
    with pytest.raises(PromptError, match="number is not known"):
        requests_of_pictures(None, points=[[[[1, 2]]]])
    with pytest.raises(PromptError, match="nest both alike"):
        requests_of_pictures(2, points=[[[[1, 2]]], [[[3, 4]]]], boxes=[1, 2, 3, 4])


def test_fractions_become_pixels():
    request = requests_from(points=[0.5, 0.25])[0].in_pixels((60, 90))
    assert request.points == [[45, 15]]
    assert requests_from(boxes=[0.1, 0.5, 1, 1])[0].in_pixels((60, 90)).box == [9, 30, 90, 60]
