"""From records and a selection to what the model recalls; what is kept of a record, and where."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

import torch

from sam2_hf.modeling.outputs import MemoryBatch
from sam2_hf.tracking.policy import POINTER_SPAN, TrackingPolicy
from sam2_hf.tracking.records import Direction, ObjectTrack
from sam2_hf.tracking.selection import NUM_SLOTS, Selection, recent_frame, select

SLOTS_BEHIND = 5  # strides that spatial memory of tracked frames reaches back beyond the adjacent frame
FRAMES_AROUND_PROMPT = 7  # strides around a prompt within which `forget_around_prompts` forgets


def pointer_reach(policy: TrackingPolicy, num_frames: int) -> int:
    """Frames that object pointers reach back, which is also the divisor of their distance; never below 1."""
    if policy.pointer_span == "clip":
        return max(min(num_frames, POINTER_SPAN + 1) - 1, 1)
    return policy.pointer_span


def select_for(
    track: ObjectTrack, frame: int, direction: Direction, num_frames: int, policy: TrackingPolicy
) -> Selection:
    """Frames that an object looks at; records that were thinned out count for what they still hold."""
    selection = select(
        frame,
        track.prompted,
        track.tracked,
        direction=int(direction),
        num_frames=num_frames,
        stride=policy.recent_stride,
        max_prompted=policy.max_prompted_frames,
        pointer_reach=pointer_reach(policy, num_frames),
    )
    memories = track.memories
    spatial = tuple(entry for entry in selection.spatial if memories[entry[0]].spatial is not None)
    pointers = tuple(entry for entry in selection.pointers if memories[entry[0]].result.object_pointer is not None)
    return Selection(spatial=spatial, pointers=pointers)


def by_signature(selections: dict) -> list[list]:
    """Keys of equal signature together, in their order: equal lengths stack exactly, without padding."""
    groups = defaultdict(list)
    for key, selection in selections.items():
        groups[selection.signature].append(key)
    return list(groups.values())


def memory_batch(
    tracks: list[ObjectTrack], selections: list[Selection], span: int, device: torch.device, dtype: torch.dtype
) -> MemoryBatch:
    """What objects of equal signature remember, stacked."""
    spatial, pointers = [], []
    for track, selection in zip(tracks, selections, strict=True):
        spatial.append(torch.stack([track.memories[frame].spatial for frame, _ in selection.spatial]))
        held = [track.memories[frame].result.object_pointer for frame, _ in selection.pointers]
        if held:
            pointers.append(torch.stack(held))
    width = tracks[0].memories[selections[0].spatial[0][0]].result.object_pointer.shape[-1]
    no_pointers = torch.zeros(len(tracks), 0, width)
    return MemoryBatch(
        spatial=torch.stack(spatial).to(device=device, dtype=dtype),
        spatial_time=torch.tensor([[slot for _, slot in selection.spatial] for selection in selections], device=device),
        pointers=(torch.stack(pointers) if pointers else no_pointers).to(device=device, dtype=dtype),
        pointer_time=torch.tensor(
            [[distance / span for _, distance in selection.pointers] for selection in selections], device=device
        ),
    )


def forget_behind(
    track: ObjectTrack, frame: int, direction: Direction, stride: int, protected: Iterable[int] = ()
) -> None:
    """Drops what a pass that has just left `frame` can never read again; prompted frames stay whole.

    Args:
        protected: frames whose maps and pointers a later part of the same pass will read.
    """
    protected = set(protected)
    for other in track.tracked:
        behind = direction * (frame - other)
        if behind <= 0:
            continue
        memory = track.memories[other]
        keep_map = behind <= SLOTS_BEHIND * stride or other in protected
        keep_pointer = behind < POINTER_SPAN or other in protected
        if not keep_map and not keep_pointer:
            del track.memories[other]
            continue
        result = replace(memory.result, mask_logits=None)
        if not keep_pointer:
            result = replace(result, object_pointer=None)
        track.memories[other] = replace(memory, result=result, spatial=memory.spatial if keep_map else None)


def has_forgotten_near(track: ObjectTrack, frame: int, stride: int) -> bool:
    """Whether maps that a new prompt on a visited frame would look at are gone."""
    direction = track.visited.get(frame)
    if direction is None:
        return False
    near = (recent_frame(frame, rank, direction, stride) for rank in range(1, NUM_SLOTS))
    passed = [other for other in near if other in track.visited]
    return any(other not in track.memories or track.memories[other].spatial is None for other in passed)


def forget_around(track: ObjectTrack, frame: int, stride: int) -> None:
    """Drops tracked records around a prompt."""
    reach = FRAMES_AROUND_PROMPT * stride
    for other in track.tracked:
        if abs(other - frame) <= reach:
            del track.memories[other]
