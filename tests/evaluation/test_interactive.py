"""The loops of a correcting user: with a follower of known quality, and with the micro model."""

from collections.abc import Iterator

import numpy as np
import pytest

from sam2_hf.datasets.clips import ArrayClip
from sam2_hf.datasets.registry import open_dataset
from sam2_hf.evaluation.interactive import CLICKS, ROUNDS, annotation_seconds, offline, online
from sam2_hf.evaluation.interactive_videos import Interactive
from sam2_hf.evaluation.scores import ObjectTally
from sam2_hf.evaluation.simulated_user import frames_of
from tests.evaluation.toy import HEIGHT, WIDTH, davis_data_set, disc, moving_ids
from tests.golden.recipe import golden_scene
from tests.tiny import micro_model, micro_processor

FRAMES, FIRST, COLUMNS = 12, 2, 20
SIDE = 64


class FadingFollower:
    """Keeps a mask that loses one of 20 columns per frame since the last correction; a correction is perfect."""

    def __init__(self, loss: int = 1):
        self.loss = loss
        self.clicked: list[int] = []
        self.passes = 0

    def click(self, frame, truth, shown, count) -> np.ndarray:
        assert count == CLICKS
        self.clicked.append(frame)
        return truth.copy()

    def follow(self) -> Iterator[tuple[int, np.ndarray]]:
        self.passes += 1
        for frame in range(FIRST, FRAMES):
            last = max(one for one in self.clicked if one <= frame)
            yield frame, columns(COLUMNS - self.loss * (frame - last))


def columns(count: int) -> np.ndarray:
    mask = np.zeros((10, 30), dtype=bool)
    mask[2:8, 4 : 4 + max(count, 0)] = True
    return mask


TRUTHS = {frame: columns(COLUMNS) for frame in range(FIRST, FRAMES)}


def score(masks) -> ObjectTally:
    tally = ObjectTally(1)
    for frame in sorted(masks):
        tally.add(str(frame), masks[frame], TRUTHS[frame])
    return tally


def test_offline_user_goes_to_the_worst_frame():
    follower = FadingFollower()
    course = offline(follower, TRUTHS, score)
    assert course.frames[:3] == [2, 11, 10]  # the end is worst, then what is now farthest from a correction
    assert follower.passes == course.passes == len(course.frames) == ROUNDS
    assert follower.clicked == course.frames
    assert len(set(course.frames)) == ROUNDS
    scores = [tally.score().j for tally in course.tallies]
    assert scores == sorted(scores)
    assert scores[0] == pytest.approx(np.mean([100 - 5 * n for n in range(10)]))


def test_offline_user_stops_early_when_nothing_is_wrong():
    course = offline(FadingFollower(loss=0), TRUTHS, score)
    assert (course.frames, course.passes, len(course.tallies)) == ([2], 1, ROUNDS)
    assert {tally.score().j for tally in course.tallies} == {100.0}


def test_offline_user_runs_out_of_frames():
    truths = {frame: TRUTHS[frame] for frame in (2, 3, 4)}
    course = offline(FadingFollower(), truths, score)
    assert sorted(course.frames) == [2, 3, 4]
    assert len(course.tallies) == ROUNDS


def test_online_user_stops_where_the_mask_has_become_bad():
    followers = []

    def make():
        followers.append(FadingFollower())
        return followers[-1]

    course = online(make, TRUTHS, score)
    assert course.frames == [2, 8]  # IoU 0.75 on frame 7 is accepted, 0.70 on frame 8 is not
    assert course.passes == len(followers) == 3  # the third pass finds no third frame
    assert [follower.clicked for follower in followers] == [[2], [2, 8], [2, 8]]
    scores = [tally.score().j for tally in course.tallies]
    assert len(scores) == ROUNDS
    assert scores[0] < scores[1] == scores[2] == scores[7]
    assert np.array_equal(course.masks[8], TRUTHS[8])


def test_online_correction_changes_only_later_frames():
    course = online(FadingFollower, TRUTHS, score, rounds=2)
    before, after = (tally.j for tally in course.tallies)
    assert before[:6] == after[:6]
    assert after[6] == 1.0 > before[6]


def test_online_user_may_correct_every_frame():
    course = online(lambda: FadingFollower(loss=6), TRUTHS, score)
    assert course.frames == list(range(2, 10))
    assert course.passes == ROUNDS


def test_annotation_time_counts_looking_finding_and_clicking():
    assert annotation_seconds(rounds=1, num_frames=300, passes=1) == pytest.approx(30 + 1 + 3 * 1.5)
    assert annotation_seconds(rounds=4, num_frames=600, passes=4) == pytest.approx(4 * (60 + 5.5))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return open_dataset("davis", davis_data_set(tmp_path_factory.mktemp("davis"), {"walk": moving_ids(6)}))[0]


@pytest.fixture(scope="module")
def model():
    return micro_model(image_size=SIDE)


@pytest.mark.parametrize("is_online", [False, True])
def test_real_session_gives_a_record_per_object(model, clip, is_online):
    protocol = Interactive(model=model, processor=micro_processor(SIDE), is_online=is_online, rounds=3)
    record = protocol.measure(clip)
    assert [one["id"] for one in record["objects"]] == [1, 2, 5]
    for one in record["objects"]:
        assert len(one["JF"]) == len(one["annotation_seconds"]) == 3
        assert len(set(one["corrected_frames"])) == len(one["corrected_frames"])
        frame, truth, predicted = protocol.shown(clip, one)
        j = (truth & predicted).sum() / (truth | predicted).sum()
        assert 100 * j == pytest.approx(one["worst_J"])
        assert frame == one["worst_frame"]
    assert record["objects"][2]["corrected_frames"][0] == "00002"  # where it appears
    results = protocol.results([record], [])
    assert results["global"]["JF@3"] == pytest.approx(np.mean([one["JF"][2] for one in record["objects"]]))
    assert results["global"]["JF_mean"] == pytest.approx(np.mean([one["JF"] for one in record["objects"]]))
    assert protocol.table(results).columns == ("sequence", "obj", "J&F@1", "J&F@2", "J&F@3")


def test_object_that_is_not_on_an_evaluated_frame_is_excluded(model):
    masks = [
        {1: disc(12, 15, 6), 2: disc(25, 40, 5) if index == 3 else np.zeros((HEIGHT, WIDTH), bool)}
        for index in range(4)
    ]
    clip = ArrayClip("short", [golden_scene(HEIGHT, WIDTH, index) for index in range(4)], masks)
    protocol = Interactive(model=model, processor=micro_processor(SIDE), is_online=True)
    record = protocol.measure(clip)
    assert [one["id"] for one in record["objects"]] == [1]
    assert record["excluded"] == [{"id": 2, "reason": "no frame to evaluate", "false_positive_frames": 0}]
    assert frames_of(clip).size == (HEIGHT, WIDTH)
