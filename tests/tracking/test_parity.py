"""The original video predictor's numbers, every step and every frame."""

import pytest

from tests.video_parity import CASES, Replay

LOGIT_TOLERANCE, SCORE_TOLERANCE, AREA_TOLERANCE = 1e-3, 1e-4, 1e-3
# One pixel of the prompted mask has a logit within 1e-6 of 0. Rounding puts it on the other side of the threshold at
# which prompted masks are made binary for memory; `test_large_agrees_once_...` removes that cause.
FLIPPED_PIXEL = {("2.1", "large", ""): 2e-4}


def slow_if_large(case):
    return pytest.param(*case, marks=pytest.mark.slow) if case[1] != "micro" else case


@pytest.mark.parametrize(("version", "size", "variant"), [slow_if_large(case) for case in CASES])
def test_scenario_gives_the_golden_numbers(version, size, variant):
    worst = Replay(version, size, variant).run()
    assert worst["mask logits"] <= (1e-4 if size == "micro" else LOGIT_TOLERANCE)
    assert worst["object score"] <= FLIPPED_PIXEL.get((version, size, variant), SCORE_TOLERANCE)
    assert worst["mask area"] <= AREA_TOLERANCE


@pytest.mark.slow
def test_large_agrees_once_the_pixel_on_the_threshold_is_on_the_originals_side():
    worst = Replay("2.1", "large", nudge=1e-5).run()
    assert worst["object score"] <= SCORE_TOLERANCE
    assert worst["mask logits"] <= LOGIT_TOLERANCE / 2
