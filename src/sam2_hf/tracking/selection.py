"""Which remembered frames may be looked at. Integers only, and one formula for both directions."""

from collections.abc import Collection
from dataclasses import dataclass

NUM_SLOTS = 7  # frames in memory attention: prompted ones share one temporal slot, recent ones have the other six


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Frames that one object looks at.

    Attributes:
        spatial: (frame, slot): slot 0 for prompted frames, 1 to 6 for recent ones, where 6 is the adjacent frame.
        pointers: (frame, distance): in the direction of travel, positive behind.
    """

    spatial: tuple[tuple[int, int], ...]
    pointers: tuple[tuple[int, int], ...]

    @property
    def signature(self) -> tuple[int, int]:
        """Objects of equal signature are batched: number of maps, number of pointers."""
        return len(self.spatial), len(self.pointers)


def select(
    frame: int,
    prompted: Collection[int],
    tracked: Collection[int],
    *,
    direction: int,
    num_frames: int,
    stride: int = 1,
    max_prompted: int | None = None,
    pointer_reach: int = 15,
    future_pointers: bool = False,
    num_slots: int = NUM_SLOTS,
) -> Selection:
    """What one object looks at on a frame.

    Args:
        prompted, tracked: frames in the object's memory, disjoint.
        direction: 1 forward, -1 backward.
        num_frames: known frames of the video; pointers stop at its ends.
        stride: distance between recent frames.
        max_prompted: limit of prompted frames, at least 2.
        pointer_reach: how many frames pointers of tracked frames reach back.
        future_pointers: also those of prompted frames that lie ahead, as in training.
    """
    selected = select_prompted(frame, prompted, max_prompted)
    available = set(tracked) | (set(prompted) - set(selected))  # unselected prompted frames serve as recent ones
    slots = ((recent_frame(frame, num_slots - slot, direction, stride), slot) for slot in range(1, num_slots))
    recent = [(other, slot) for other, slot in slots if other in available]
    distances = [(other, direction * (frame - other)) for other in selected]
    pointed = [(other, distance) for other, distance in distances if distance >= 0 or future_pointers]
    steps = ((frame - direction * step, step) for step in range(1, pointer_reach + 1))
    passed = [(other, step) for other, step in steps if 0 <= other < num_frames and other in available]
    return Selection(spatial=(*((other, 0) for other in selected), *recent), pointers=(*pointed, *passed))


def select_prompted(frame: int, prompted: Collection[int], limit: int | None) -> list[int]:
    """Prompted frames to look at, in order: all, or the closest before, the closest from here on, then the nearest."""
    frames = sorted(prompted)
    if limit is None or len(frames) <= limit:
        return frames
    before = [other for other in frames if other < frame][-1:]
    from_here = [other for other in frames if other >= frame][:1]
    chosen = before + from_here
    rest = sorted((other for other in frames if other not in chosen), key=lambda other: (abs(other - frame), other))
    return sorted(chosen + rest[: limit - len(chosen)])


def recent_frame(frame: int, rank: int, direction: int, stride: int) -> int:
    """The frame of a recent slot: rank 1 is the adjacent frame, higher ranks lie on multiples of the stride."""
    if rank == 1:
        return frame - direction
    # floor for forward, ceiling for backward: both are a floor in the direction of travel
    anchor = direction * ((direction * (frame - 2 * direction)) // stride) * stride
    return anchor - direction * (rank - 2) * stride
