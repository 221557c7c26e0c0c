"""Clicks needed, failures, area under the curve."""

import numpy as np
import pytest

from sam2_hf.evaluation.curves import area_under_curve, clicks_needed, number_of_clicks


def test_clicks_are_counted_from_one_up_to_the_quality():
    assert clicks_needed([0.5, 0.84, 0.85, 0.9], 0.85) == 3
    assert clicks_needed([0.9, 0.2], 0.9) == 1
    assert clicks_needed([0.5, 0.6], 0.85) is None


def test_failures_count_as_twenty_clicks_and_are_reported():
    good = np.linspace(0.05, 1.0, 20)  # reaches 0.85 with click 17
    late = np.concatenate([np.full(20, 0.5), [1.0]])
    curves = np.stack([np.append(good, 1.0), late])
    assert number_of_clicks(curves, 0.85) == ((17 + 20) / 2, 1)


def test_area_is_that_of_trapezoids_over_the_steps():
    assert area_under_curve([0.0, 1.0]) == 0.5
    assert area_under_curve([0.2, 0.4, 0.9]) == pytest.approx((0.3 + 0.65) / 2)
    assert area_under_curve(np.full(20, 0.7)) == pytest.approx(0.7)
    assert area_under_curve([0.3]) == 0.3
