import math
import random

import pytest

from sam2_hf.tracking.selection import select

FORWARD, BACKWARD = 1, -1
ALL_BUT = object()


def others(prompted, frames) -> set[int]:
    return set(frames) - set(prompted)


CASES = [  # frame, direction, prompted, tracked, options, spatial, pointers
    (
        *(10, FORWARD, {0}, others({0}, range(10)), {"num_frames": 100}),
        "0:0 4:1 5:2 6:3 7:4 8:5 9:6",
        "0:10 9:1 8:2 7:3 6:4 5:5 4:6 3:7 2:8 1:9",
    ),
    (3, FORWARD, {0}, {1, 2}, {"num_frames": 12, "pointer_reach": 11}, "0:0 1:5 2:6", "0:3 2:1 1:2"),
    (5, FORWARD, {20}, set(), {"num_frames": 100}, "20:0", ""),
    (
        *(7, FORWARD, {20}, set(range(1, 7)), {"num_frames": 100}),
        "20:0 1:1 2:2 3:3 4:4 5:5 6:6",
        "6:1 5:2 4:3 3:4 2:5 1:6",
    ),
    (
        *(5, FORWARD, {0, 3, 12, 15}, {1, 2, 4}, {"num_frames": 100, "max_prompted": 2}),
        "3:0 12:0 0:2 1:3 2:4 4:6",
        "3:2 4:1 2:3 1:4 0:5",
    ),
    (
        *(6, FORWARD, {2, 6}, {1, 3, 4, 5, 7, 8}, {"num_frames": 100}),
        "2:0 6:0 1:2 3:4 4:5 5:6",
        "2:4 6:0 5:1 4:2 3:3 1:5",
    ),
    (5, BACKWARD, {9}, {6, 7, 8}, {"num_frames": 12, "pointer_reach": 11}, "9:0 8:4 7:5 6:6", "9:4 6:1 7:2 8:3"),
    (
        *(20, FORWARD, {0}, others({0}, range(20)), {"num_frames": 100, "stride": 3}),
        "0:0 6:1 9:2 12:3 15:4 18:5 19:6",
        "0:20 " + " ".join(f"{20 - k}:{k}" for k in range(1, 16)),
    ),
    (
        *(7, BACKWARD, {40}, set(range(8, 40)), {"num_frames": 41, "stride": 3}),
        "40:0 21:1 18:2 15:3 12:4 9:5 8:6",
        "40:33 " + " ".join(f"{7 + k}:{k}" for k in range(1, 16)),
    ),
]


def pairs(text: str) -> set[tuple[int, int]]:
    return {tuple(map(int, pair.split(":"))) for pair in text.split()}


@pytest.mark.parametrize(("frame", "direction", "prompted", "tracked", "options", "spatial", "pointers"), CASES)
def test_worked_case_is_selected(frame, direction, prompted, tracked, options, spatial, pointers):
    selection = select(frame, prompted, tracked, direction=direction, **options)
    assert set(selection.spatial) == pairs(spatial)
    assert set(selection.pointers) == pairs(pointers)


def obvious(frame, prompted, tracked, *, direction, num_frames, stride, max_prompted, pointer_reach):
    """The rules written down as they are stated, case by case."""
    if max_prompted is None or len(prompted) <= max_prompted:
        selected = set(prompted)
    else:
        before, after = [t for t in prompted if t < frame], [t for t in prompted if t >= frame]
        selected = ({max(before)} if before else set()) | ({min(after)} if after else set())
        while len(selected) < max_prompted:
            selected.add(min(prompted - selected, key=lambda t: (abs(t - frame), t)))
    spatial = {(t, 0) for t in selected}
    for slot in range(1, 7):
        rank = 7 - slot
        if rank == 1:
            other = frame - 1 if direction == FORWARD else frame + 1
        elif direction == FORWARD:
            other = math.floor((frame - 2) / stride) * stride - (rank - 2) * stride
        else:
            other = math.ceil((frame + 2) / stride) * stride + (rank - 2) * stride
        if other in tracked or other in prompted - selected:
            spatial.add((other, slot))
    pointers = set()
    for t in selected:
        if direction == FORWARD and t <= frame:
            pointers.add((t, frame - t))
        if direction == BACKWARD and t >= frame:
            pointers.add((t, t - frame))
    for k in range(1, pointer_reach + 1):
        other = frame - k if direction == FORWARD else frame + k
        if other < 0 or other >= num_frames:
            break
        if other in tracked or other in prompted - selected:
            pointers.add((other, k))
    return spatial, pointers


def test_selection_equals_the_obvious_form_on_random_states():
    generator = random.Random(0)
    for _ in range(20_000):
        num_frames = generator.randint(1, 60)
        frames = range(num_frames)
        prompted = set(generator.sample(frames, generator.randint(1, min(6, num_frames))))
        tracked = {t for t in frames if t not in prompted and generator.random() < 0.7}
        options = {
            "direction": generator.choice((FORWARD, BACKWARD)),
            "num_frames": num_frames,
            "stride": generator.randint(1, 4),
            "max_prompted": generator.choice((None, 2, 3, 4)),
            "pointer_reach": generator.choice((15, max(min(num_frames, 16) - 1, 1))),
        }
        frame = generator.randrange(num_frames)
        found = select(frame, prompted, tracked, **options)
        assert (set(found.spatial), set(found.pointers)) == obvious(frame, prompted, tracked, **options)
        assert found.signature == (len(found.spatial), len(found.pointers))
