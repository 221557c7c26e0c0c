"""J, F, Dice and boundary IoU: worked values, the original evaluator's numbers, and a slow literal reading."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from sam2_hf.evaluation.metrics import (
    boundary,
    boundary_iou,
    boundary_radius,
    contour_accuracy,
    dice,
    near,
    region_similarity,
    tight_box,
)
from sam2_hf.evaluation.scores import ObjectTally
from tests.golden.recipe import golden_scene_ids

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "j_and_f.json").read_text())


def square(height: int, width: int, rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros((height, width), dtype=bool)
    mask[rows, columns] = True
    return mask


def smooth_mask(generator: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    return ndimage.gaussian_filter(generator.standard_normal(size), 3) > generator.normal(0, 0.05)


def literal_f(predicted: np.ndarray, truth: np.ndarray) -> float:
    """The definition, pixel by pixel and with the disk written out."""

    def edges(mask):
        height, width = mask.shape
        found = np.zeros_like(mask)
        for i in range(height):
            for j in range(width):
                neighbours = [(i, j + 1), (i + 1, j), (i + 1, j + 1)]
                inside = [(y, x) for y, x in neighbours if y < height and x < width]
                found[i, j] = any(mask[y, x] != mask[i, j] for y, x in inside)
        return found

    radius = int(np.ceil(0.008 * np.sqrt(truth.shape[0] ** 2 + truth.shape[1] ** 2)))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = x**2 + y**2 <= radius**2
    one, other = edges(predicted), edges(truth)
    if not one.any() or not other.any():
        return float(one.any() == other.any())
    precision = (one & ndimage.binary_dilation(other, disk)).sum() / one.sum()
    recall = (other & ndimage.binary_dilation(one, disk)).sum() / other.sum()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['object']}-{case.get('roll', 'empty')}")
def test_scores_are_those_of_the_original_evaluator(case):
    tally = ObjectTally(case["object"])
    for frame in range(case["frames"]):
        truth = golden_scene_ids(case["height"], case["width"], frame, case["seed"]) == case["object"]
        shifted = np.roll(truth, case["roll"], axis=(0, 1)) if "roll" in case else np.zeros_like(truth)
        tally.add(str(frame), shifted, truth)
    score = tally.score()
    assert score.j == pytest.approx(case["J"], abs=1e-9)
    assert score.f == pytest.approx(case["F"], abs=1e-9)


def test_worked_values_of_a_shifted_square():
    truth = square(4, 6, slice(0, 3), slice(0, 3))
    shifted = square(4, 6, slice(0, 3), slice(1, 4))
    assert boundary_radius((4, 6)) == 1
    assert region_similarity(shifted, truth) == 0.5
    assert dice(shifted, truth) == pytest.approx(2 / 3)
    assert contour_accuracy(shifted, truth) == pytest.approx(14 / 15)


@pytest.mark.parametrize(("size", "radius"), [((480, 854), 8), ((720, 1280), 12), ((1080, 1920), 18)])
def test_radius_follows_the_diagonal(size, radius):
    assert boundary_radius(size) == radius


def test_boundaries_are_marked_towards_the_top_left():
    single = square(3, 3, slice(1, 2), slice(1, 2))
    assert np.argwhere(boundary(single)).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert not boundary(np.ones((20, 30), dtype=bool)).any()
    corner = square(5, 5, slice(4, 5), slice(4, 5))
    assert not boundary(corner)[4, 4]
    assert np.argwhere(boundary(corner)).tolist() == [[3, 3], [3, 4], [4, 3]]


def hand_drawn() -> dict[str, np.ndarray]:
    hole = square(5, 5, slice(1, 4), slice(1, 4))
    hole[2, 2] = False
    return {
        "empty": np.zeros((5, 5), dtype=bool),
        "full": np.ones((5, 5), dtype=bool),
        "single": square(5, 5, slice(2, 3), slice(2, 3)),
        "square": square(5, 5, slice(1, 4), slice(1, 4)),
        "shifted": square(5, 5, slice(2, 5), slice(1, 4)),
        "border": square(5, 5, slice(0, 5), slice(3, 5)),
        "hole": hole,
    }


@pytest.mark.parametrize("name", hand_drawn())
@pytest.mark.parametrize("other", hand_drawn())
def test_hand_drawn_masks_give_the_literal_f(name, other):
    predicted, truth = hand_drawn()[name], hand_drawn()[other]
    assert contour_accuracy(predicted, truth) == literal_f(predicted, truth)


def test_empty_masks_agree_and_miss():
    empty, single = hand_drawn()["empty"], hand_drawn()["single"]
    for metric in (region_similarity, contour_accuracy, dice, boundary_iou):
        assert metric(empty, empty) == 1.0
        assert metric(empty, single) == metric(single, empty) == 0.0


def test_distance_transform_is_the_dilation_to_the_bit():
    generator = np.random.default_rng(0)
    for _ in range(200):
        size = tuple(generator.integers(8, 48, 2))
        edges, radius = boundary(smooth_mask(generator, size)), int(generator.integers(1, 7))
        y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        expected = ndimage.binary_dilation(edges, x**2 + y**2 <= radius**2)
        assert np.array_equal(near(edges, radius), expected)


def test_crop_gives_what_the_whole_picture_gives():
    generator = np.random.default_rng(1)
    for _ in range(100):
        truth = np.zeros((150, 170), dtype=bool)
        y, x = generator.integers(0, 110, 2)
        truth[y : y + 40, x : x + 50] = smooth_mask(generator, (40, 50))
        predicted = np.roll(truth, generator.integers(-4, 5, 2), axis=(0, 1))
        radius = boundary_radius(truth.shape)
        one, other = boundary(predicted), boundary(truth)
        precision = np.count_nonzero(one & near(other, radius)) / np.count_nonzero(one)
        recall = np.count_nonzero(other & near(one, radius)) / np.count_nonzero(other)
        whole = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        assert contour_accuracy(predicted, truth) == whole


def test_dice_follows_from_j():
    generator = np.random.default_rng(2)
    one, other = smooth_mask(generator, (30, 40)), smooth_mask(generator, (30, 40))
    j = region_similarity(one, other)
    assert dice(one, other) == pytest.approx(2 * j / (1 + j))


def test_boundary_iou_sees_only_the_bands():
    truth = square(100, 100, slice(20, 80), slice(20, 80))
    band = round(0.02 * np.hypot(100, 100))
    hollow = truth.copy()
    hollow[20 + band : 80 - band, 20 + band : 80 - band] = False
    assert boundary_iou(truth, truth) == 1.0
    assert boundary_iou(square(100, 100, slice(24, 84), slice(20, 80)), truth) < 0.7
    assert region_similarity(hollow, truth) < 0.25


def test_tight_box_has_inclusive_maxima():
    assert tight_box(square(9, 12, slice(2, 5), slice(3, 10))) == [3, 2, 9, 4]


def test_masks_of_other_sizes_or_types_are_refused():
    mask = np.zeros((4, 5), dtype=bool)
    with pytest.raises(ValueError, match=r"\(5, 4\)"):
        region_similarity(mask, mask.T)
    with pytest.raises(ValueError, match="`predicted` must be bool, got uint8"):
        contour_accuracy(mask.astype(np.uint8), mask)


def test_object_that_is_never_predicted_scores_on_the_frames_without_it():
    tally, nothing, something = ObjectTally(1), np.zeros((6, 7), dtype=bool), np.ones((6, 7), dtype=bool)
    for frame, is_visible in enumerate([True, True, True, False, False]):
        tally.add(str(frame), nothing, something if is_visible else nothing)
    score = tally.score()
    assert (score.j, score.frames, score.visible_frames) == (pytest.approx(40.0), 5, 3)
    assert score.volume_dice == 0.0
    assert tally.false_positive_frames == 0


def test_volume_dice_weighs_frames_by_their_areas():
    tally = ObjectTally(1)
    large, small = square(10, 10, slice(0, 8), slice(0, 10)), square(10, 10, slice(0, 1), slice(0, 10))
    tally.add("0", large, large)
    tally.add("1", np.zeros_like(small), small)
    score = tally.score()
    assert score.volume_dice == pytest.approx(100 * 160 / 170)
    assert score.dice == pytest.approx(50.0)
    assert (score.worst_frame, score.worst_j) == ("1", 0.0)
