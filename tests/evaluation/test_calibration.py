"""Calibration: worked out by hand, and part of the figures of pictures."""

import pytest

from sam2_hf.evaluation.calibration import calibration, calibration_error
from sam2_hf.evaluation.pictures import PictureProtocol


def test_error_is_the_mean_distance_of_a_tenth_weighted_by_its_masks():
    predicted, true = [0.92, 0.98, 0.41], [0.9, 0.8, 0.61]
    assert calibration_error(predicted, true) == pytest.approx((abs(0.02 + 0.18) + 0.2) / 3)


def test_errors_of_one_tenth_cancel_and_those_of_two_do_not():
    assert calibration_error([0.55, 0.55], [0.45, 0.65]) == pytest.approx(0)
    assert calibration_error([0.55, 0.65], [0.45, 0.75]) == pytest.approx(0.1)


def test_estimates_outside_of_the_tenths_count_in_the_outer_ones():
    assert calibration_error([1.0, 1.2, -0.1], [1.0, 1.0, 0.0]) == pytest.approx((0.2 + 0.1) / 3)
    assert calibration_error([], []) is None


def test_videos_leave_out_frames_where_the_object_is_not_to_be_seen():
    curves = {"1": [{"frame": "0", "visible": True, "J": 50.0}, {"frame": "1", "visible": False, "J": 0.0}]}
    scores = [{"id": 1, "frame": frame, "iou_score": 0.9, "object_score": 1.0} for frame in ("0", "1")]
    assert calibration([{"curves": curves, "model_scores": scores}])["error"] == pytest.approx(0.4)


@pytest.mark.parametrize(("kind", "entry"), [("box", {"box": 0.6, "jittered": [0.5]}), ("clicks", {"clicks": [0.6]})])
def test_figures_of_pictures_have_the_error_where_estimates_were_kept(kind, entry):
    protocol = PictureProtocol(model=None, processor=None, kind=kind, max_clicks=1)
    entry = entry | {"oracle": 0.6, "score": 0.6}
    record = {"name": "a/b", "frames": 1, "objects": [entry | {"estimate": 0.9}]}
    assert protocol.results([record], [])["global"]["calibration_error"] == pytest.approx(30)
    assert "calibration_error" not in protocol.results([{**record, "objects": [entry]}], [])["global"]
