"""The log of a run as a picture: which figures are shown together, on which axes, and that they can be seen."""

import numpy as np
import pytest

from sam2_hf.evaluation.learning_curves import COLOURS, HEIGHT, WIDTH, learning_curves, panels_of, smoothed, ticks


def record(step, **more):
    return {
        "step": step,
        "epoch": step / 10,
        "learning_rate": 1e-5,
        "dice": 1 / step,
        "loss_per_step": 2 / step,
        **more,
    }


def validation(step, **figures):
    return {"step": step, "epoch": step / 10, "validation": figures}


def colours(picture):
    return {tuple(colour) for colour in np.asarray(picture).reshape(-1, 3)}


def test_the_loss_comes_first_with_that_of_validations_then_their_headlines():
    figures = {"score": 40.0, "box_mIoU": 50.0, "jittered_box_mIoU": 49.0, "loss_per_step": 0.7}
    panels = panels_of([validation(0, score=39.0), record(1), record(2), validation(2, **figures)])
    assert [panel.title for panel in panels] == ["loss per step", "validation", "learning rate", "dice"]
    assert panels[0].lines == {"training": [(1, 2.0), (2, 1.0)], "validation": [(2, 0.7)]}
    assert panels[1].lines == {"score": [(0, 39.0), (2, 40.0)], "box_mIoU": [(2, 50.0)]}


def test_figures_of_ones_own_are_shown_where_none_is_known():
    (panel,) = panels_of([validation(3, recall=0.5)])
    assert panel.lines == {"recall": [(3, 0.5)]}


def test_what_is_no_finite_number_is_left_out():
    panels = panels_of([record(1, dice=float("nan")), record(2, iou=float("inf"), note="text")])
    assert {panel.title: panel.lines for panel in panels}["dice"] == {"dice": [(2, 0.5)]}
    assert "iou" not in {panel.title for panel in panels}


@pytest.mark.parametrize(
    ("count", "size"), [(0, (WIDTH, HEIGHT)), (1, (3 * WIDTH, HEIGHT)), (200, (3 * WIDTH, HEIGHT))]
)
def test_one_point_or_many_can_be_seen(count, size):
    picture = learning_curves([record(step) for step in range(1, count + 1)])
    assert picture.size == size
    assert (COLOURS[0] in colours(picture)) == bool(count)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.3, 0.31), (-5, 20), (7, 7), (0, 0), (1e-7, 5e-6), (123, 98765)])
def test_ticks_are_few_round_and_hold_all_values(low, high):
    found = ticks(low, high)
    assert 2 <= len(found) <= 7
    assert found[0] <= low + 1e-9 * abs(low) and found[-1] >= high * (1 - 1e-9)
    assert np.diff(found) == pytest.approx(found[1] - found[0])


def test_smoothing_keeps_straight_lines_and_calms_noise():
    assert smoothed(list(range(60))) == pytest.approx(np.arange(60))
    noise = np.random.default_rng(0).normal(size=300)
    assert smoothed(noise).std() < 0.4 * noise.std()
