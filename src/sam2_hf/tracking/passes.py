"""Which frames a pass visits, in which order, and which way it goes at each; and whether it can be made."""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count

from sam2_hf.errors import PromptError
from sam2_hf.tracking.frames import FrameStore
from sam2_hf.tracking.memory_limits import MemoryLimits
from sam2_hf.tracking.policy import TrackingPolicy
from sam2_hf.tracking.records import Direction, ObjectTrack

BOTH_WAYS = "both"
DIRECTIONS = {"forward": Direction.FORWARD, "backward": Direction.BACKWARD}


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One frame of a pass.

    Attributes:
        protected: tracked frames that a later part of the same pass will look at.
    """

    frame: int
    direction: Direction
    protected: range = range(0)


def check_pass(direction: str, start_frame: int | None, max_frames: int | None, frames: FrameStore) -> None:
    """Raises `ValueError` for a pass that cannot be made."""
    if direction not in (*DIRECTIONS, BOTH_WAYS):
        raise ValueError(f"`direction` must be 'forward', 'backward' or 'both', got {direction!r}")
    if max_frames is not None and max_frames < 1:
        raise ValueError(f"`max_frames` is {max_frames}, but it must be at least 1")
    if direction != "forward" and frames.source is None and frames.window:
        raise ValueError('a bounded stream cannot be followed backwards; use TrackingPolicy(keep="all")')
    if start_frame is not None:
        frames.require(start_frame)


def checked_start(
    tracks: Iterable[ObjectTrack], direction: str, start_frame: int | None, policy: TrackingPolicy
) -> int:
    """Where a pass begins: if it was not told at the first prompted frame, backward at the last.

    Objects that have no prompt are left out, with a warning.

    Raises:
        PromptError: no object has a prompt.
    """
    tracks = list(tracks)
    without = [track.object_id for track in tracks if not track.prompted]
    if len(without) == len(tracks):
        raise PromptError("no object has a prompt; add one on any frame before propagating")
    if without and policy.require_all_prompted:
        raise PromptError(f"object {without[0]!r} has no prompt; add one on any frame, or remove it")
    if without:
        warnings.warn(f"objects without a prompt are left out: {without}", UserWarning, stacklevel=4)
    if start_frame is not None:
        return start_frame
    prompted = [frame for track in tracks for frame in track.prompted]
    from_the_end = direction == "backward" and policy.backward_start == "last"
    return max(prompted) if from_the_end else min(prompted)


def visits(
    direction: str, start: int, max_frames: int | None, frames: FrameStore, limits: MemoryLimits
) -> Iterator[Visit]:
    """Frames of a pass; both ways goes to the end, and then back from the frame before the start.

    Args:
        max_frames: at most so many in each direction, the start frame included.
    """
    length = len(frames) if max_frames is None else max_frames
    if direction != "backward":
        protected = range(start, start + limits.reach) if direction == BOTH_WAYS else range(0)
        for frame in _forward(start, max_frames, frames):
            yield Visit(frame=frame, direction=Direction.FORWARD, protected=protected)
    if direction != "forward":
        first = start - 1 if direction == BOTH_WAYS else start
        for frame in range(first, max(start - length, -1), -1):
            yield Visit(frame=frame, direction=Direction.BACKWARD)


def _forward(start: int, max_frames: int | None, frames: FrameStore) -> Iterator[int]:
    """Frame numbers to the end; of a stream, as frames come."""
    for frame in count(start) if max_frames is None else range(start, start + max_frames):
        if not frames.reach(frame):
            return
        yield frame
