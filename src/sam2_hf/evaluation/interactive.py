"""A user who corrects a tracked object, simulated: the offline and online protocols of arXiv 2408.00714, section F.1.

A round is three clicks on one frame. *Offline*, the user sees the whole video after every round and goes to its worst
frame; *online*, the video passes once and the user stops it where the mask has become bad.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from sam2_hf.evaluation.metrics import region_similarity
from sam2_hf.evaluation.scores import ObjectTally
from sam2_hf.evaluation.simulated_user import give_clicks, mask_of

ROUNDS, CLICKS = 8, 3
PERFECT = 0.999  # IoU of the worst frame from which on nothing is corrected any more
ACCEPTED = 0.75  # IoU below which an online user stops the video
LOCATE_S, CLICK_S, EXAMINE_S = 1.0, 1.5, 30.0 / 300  # estimated seconds: to find an object, to click, to see a frame


class Follower(Protocol):
    """One object of one video, as a user works with it."""

    def click(self, frame: int, truth: np.ndarray, shown: np.ndarray | None, count: int) -> np.ndarray:
        """Corrects a frame with clicks; the mask after the last one, (height, width) bool."""

    def follow(self) -> Iterator[tuple[int, np.ndarray]]:
        """Frames from the first on, with the object's masks; a frame that is corrected changes those after it."""


class SessionFollower:
    """An object of a session.

    Args:
        session: forgets the objects that it has.
        first: frame that the object appears on.
        voids: pixels that count neither for nor against, by frame.
    """

    def __init__(self, session, object_id: int, first: int, voids: Mapping[int, np.ndarray]):
        session.reset()
        self._session, self._id, self._first, self._voids = session, object_id, first, voids

    def click(self, frame: int, truth: np.ndarray, shown: np.ndarray | None, count: int) -> np.ndarray:
        """As `Follower.click`."""
        shown = np.zeros_like(truth) if shown is None else shown
        for mask in give_clicks(self._session, frame, self._id, truth, shown, count, self._voids.get(frame)):
            shown = mask
        return shown

    def follow(self) -> Iterator[tuple[int, np.ndarray]]:
        """As `Follower.follow`."""
        for frame in self._session.propagate(start_frame=self._first):
            mask, void = mask_of(frame, self._id), self._voids.get(frame.frame_index)
            yield frame.frame_index, mask if void is None else mask & ~void


@dataclass(slots=True)
class Course:
    """How a simulated annotation went.

    Attributes:
        frames: frames that were corrected, in order.
        tallies: scores after 1, 2, ... rounds; rounds that were not needed repeat the last one.
        masks: of the last pass, by frame.
        passes: how often the video was followed.
    """

    frames: list[int] = field(default_factory=list)
    tallies: list[ObjectTally] = field(default_factory=list)
    masks: dict[int, np.ndarray] = field(default_factory=dict)
    passes: int = 0

    def fill(self, rounds: int) -> "Course":
        """Repeats the last score for rounds that were not needed."""
        self.tallies += [self.tallies[-1]] * (rounds - len(self.tallies))
        return self


Score = Callable[[Mapping[int, np.ndarray]], ObjectTally]


def offline(follower: Follower, truths: Mapping[int, np.ndarray], score: Score, rounds: int = ROUNDS) -> Course:
    """Rounds on the worst frame, each followed by a pass through the whole video.

    Args:
        truths: true masks by frame, from the first frame that shows the object on.
        score: from masks by frame to a tally.
    """
    course, frame = Course(), min(truths)
    while True:
        follower.click(frame, truths[frame], course.masks.get(frame), CLICKS)
        course.frames.append(frame)
        course.masks = {index: mask for index, mask in follower.follow() if index in truths}
        course.passes += 1
        course.tallies.append(score(course.masks))
        candidates = {index: _iou(course.masks, truths, index) for index in truths if index not in course.frames}
        if len(course.frames) == rounds or not candidates or min(candidates.values()) >= PERFECT:
            return course.fill(rounds)
        frame = min(candidates, key=candidates.get)


def online(
    make_follower: Callable[[], Follower], truths: Mapping[int, np.ndarray], score: Score, rounds: int = ROUNDS
) -> Course:
    """Single passes with at most 1, 2, ... rounds, each put on the first frame that has become bad.

    Args:
        make_follower: a follower without clicks, for each pass.
        truths, score: as for `offline`.
    """
    course = Course()
    for allowed in range(1, rounds + 1):
        course.frames, course.masks = _one_pass(make_follower(), truths, allowed)
        course.passes += 1
        course.tallies.append(score(course.masks))
        if len(course.frames) < allowed:
            break
    return course.fill(rounds)


def _one_pass(
    follower: Follower, truths: Mapping[int, np.ndarray], rounds: int
) -> tuple[list[int], dict[int, np.ndarray]]:
    """Corrected frames, and masks by frame."""
    corrected, masks = [min(truths)], {}
    follower.click(corrected[0], truths[corrected[0]], None, CLICKS)
    for index, mask in follower.follow():
        if index not in truths:
            continue
        masks[index] = mask
        if index not in corrected and len(corrected) < rounds and _iou(masks, truths, index) < ACCEPTED:
            masks[index] = follower.click(index, truths[index], mask, CLICKS)
            corrected.append(index)
    return corrected, masks


def annotation_seconds(rounds: int, num_frames: int, passes: int) -> float:
    """Estimated time of a human for so many rounds.

    Args:
        passes: how often the whole video is looked at: once per round offline, once online.
    """
    return passes * num_frames * EXAMINE_S + rounds * (LOCATE_S + CLICKS * CLICK_S)


def _iou(masks: Mapping[int, np.ndarray], truths: Mapping[int, np.ndarray], index: int) -> float:
    return region_similarity(masks[index], truths[index])
