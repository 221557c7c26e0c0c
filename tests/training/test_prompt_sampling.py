"""The simulated user: plans equal to the original's, boxes within bounds, clicks in the right region."""

import numpy as np
import pytest
import torch

from sam2_hf.modeling.outputs import PointLabel
from sam2_hf.training.prompt_sampling import (
    PromptOptions,
    centre_click,
    centre_clicks,
    draw_plan,
    noisy_boxes,
    uniform_clicks,
)

# First plans of a fresh generator (seed 42) with the recipe's options: frames with their prompts, corrected frames.
PLANS_OF_FOUR = [
    ({0: "mask", 2: "mask"}, ()),
    ({0: "mask"}, ()),
    ({0: "click", 2: "click"}, (0, 2)),
    ({0: "mask", 2: "mask"}, ()),
    ({0: "mask", 3: "mask"}, ()),
    ({0: "box"}, (0,)),
    ({0: "box"}, (0, 2)),
    ({0: "mask"}, ()),
    ({0: "mask", 2: "mask"}, ()),
    ({0: "mask"}, ()),
]
SECOND_FRAME_OF_EIGHT = {0: 4, 2: 4, 3: 4, 4: 6, 6: 4, 8: 4}  # batch -> second initial or corrected frame


def plans(num_frames, count=10, **options):
    generator = np.random.default_rng(42)
    return [draw_plan(num_frames, generator, PromptOptions(**options)) for _ in range(count)]


def test_plans_of_four_frames_equal_the_original():
    assert [(plan.initial, plan.corrected) for plan in plans(4)] == PLANS_OF_FOUR


def test_plans_of_eight_frames_equal_the_original():
    for batch, (plan, (initial, corrected)) in enumerate(zip(plans(8), PLANS_OF_FOUR, strict=True)):
        moved = {0: 0, 2: SECOND_FRAME_OF_EIGHT.get(batch), 3: SECOND_FRAME_OF_EIGHT.get(batch)}
        assert plan.initial == {moved[frame]: kind for frame, kind in initial.items()}
        assert plan.corrected == tuple(moved[frame] for frame in corrected)


def test_pictures_always_get_points_and_corrections():
    for plan in plans(1, count=30):
        assert plan.initial[0] in ("box", "click")
        assert plan.corrected == (0,)
        assert len(plan.from_truth[0]) == 7
    assert {plan.initial[0] for plan in plans(1, count=30)} == {"box", "click"}


def test_later_prompts_are_given_only_where_all_objects_are_visible():
    generator = np.random.default_rng(42)
    visible = [True, False, False, True]
    found = [draw_plan(4, generator, PromptOptions(), visible).initial for _ in range(200)]
    assert {frame for initial in found for frame in initial} == {0, 3}
    nowhere = [draw_plan(4, generator, PromptOptions(), [True, False, False, False]).initial for _ in range(50)]
    assert all(list(initial) == [0] for initial in nowhere)


def test_masks_are_never_given_on_all_frames():
    generator = np.random.default_rng(42)
    found = [draw_plan(2, generator, PromptOptions(points_probability=0)) for _ in range(30)]
    assert all(plan.initial == {0: "mask"} for plan in found)


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"`box_probability` is 1.5"):
        PromptOptions(box_probability=1.5)
    with pytest.raises(ValueError, match=r"`max_initial_frames` is 0"):
        PromptOptions(max_initial_frames=0)


def square(size=32, y=slice(8, 20), x=slice(4, 24)):
    mask = torch.zeros(1, size, size, dtype=torch.bool)
    mask[0, y, x] = True
    return mask


def test_box_without_noise_is_tight_with_inclusive_maxima():
    assert noisy_boxes(square(), np.zeros((1, 4))).tolist() == [[[4, 8], [23, 19]]]


def test_box_noise_stays_within_a_tenth_of_the_side_and_twenty_pixels():
    truth, rng = square(400, slice(50, 100), slice(20, 380)), np.random.default_rng(0)
    boxes = torch.cat([noisy_boxes(truth, rng.uniform(-1, 1, (1, 4))) for _ in range(300)]).flatten(1)
    moved = boxes - torch.tensor([20.0, 50.0, 379.0, 99.0])
    assert moved[:, ::2].abs().max() <= 20
    assert moved[:, ::2].abs().max() > 19
    assert moved[:, 1::2].abs().max() <= 4.9
    assert noisy_boxes(square(), np.array([[-1, -1, 1, 1]])).min() >= 0


def test_uniform_clicks_fall_on_errors_with_the_right_label():
    truth = square()
    prediction = torch.roll(truth, 6, dims=2)
    for draw in np.linspace(0, 0.999, 50):
        points, labels = uniform_clicks(truth, prediction, np.array([draw]))
        x, y = points[0, 0].long().tolist()
        assert truth[0, y, x] != prediction[0, y, x]
        assert labels[0, 0] == int(truth[0, y, x])


def test_uniform_clicks_are_uniform():
    truth = torch.zeros(1, 4, 4, dtype=torch.bool)
    truth[0, 1:3, 1:3] = True
    draws = np.random.default_rng(0).random(4000)
    points = torch.cat([uniform_clicks(truth, None, np.array([draw]))[0] for draw in draws])[:, 0].long()
    counts = torch.bincount(points[:, 1] * 4 + points[:, 0], minlength=16).numpy()
    inside = counts[[5, 6, 9, 10]]
    assert inside.sum() == 4000
    assert ((inside - 1000) ** 2 / 1000).sum() < 16.3  # chi-square, three degrees of freedom, p = 0.001


def test_a_perfect_mask_gets_a_background_click_in_training():
    points, labels = uniform_clicks(square(), square(), np.array([0.5]))
    x, y = points[0, 0].long().tolist()
    assert labels.item() == 0
    assert not square()[0, y, x]


def test_a_full_perfect_mask_does_not_fail():
    full = torch.ones(1, 4, 4, dtype=torch.bool)
    points, _ = uniform_clicks(full, full, np.array([0.7]))
    assert points.shape == (1, 1, 2)


def slow_centre(truth, prediction):
    """The rule, pixel by pixel."""
    best = (0.0, None)
    depths = {}
    for label, region in ((0, ~truth & prediction), (1, truth & ~prediction)):
        padded = np.pad(region, 1)
        outside = np.argwhere(~padded)
        for y, x in np.argwhere(region):
            depth = np.sqrt(((outside - [y + 1, x + 1]) ** 2).sum(axis=1).min())
            depths[label, y, x] = depth
    for label in (0, 1):
        for (kind, y, x), depth in depths.items():
            if kind == label and depth > best[0] + 1e-9:
                best = (depth, (x, y, label))
    return best[1]


def test_centre_clicks_equal_brute_force():
    rng = np.random.default_rng(1)
    for _ in range(60):
        truth, prediction = rng.random((2, 7, 9)) < rng.uniform(0.2, 0.8)
        assert centre_click(truth, prediction) == slow_centre(truth, prediction)


def test_ties_go_to_the_false_positive():
    truth, prediction = np.zeros((2, 5, 9), dtype=bool)
    truth[1:4, 1:4] = prediction[1:4, 5:8] = True
    assert centre_click(truth, prediction) == (6, 2, 0)


def test_no_click_where_nothing_is_wrong():
    mask = np.eye(4, dtype=bool)
    assert centre_click(mask, mask) is None
    _, labels = centre_clicks(torch.from_numpy(mask)[None], torch.from_numpy(mask)[None])
    assert labels.tolist() == [[PointLabel.NOT_A_POINT]]
