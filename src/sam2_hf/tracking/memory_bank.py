"""From records and a selection to what the model recalls; what is kept of a record, and where."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

import torch

from sam2_hf.modeling.outputs import MemoryBatch
from sam2_hf.tracking.memory_limits import MemoryLimits
from sam2_hf.tracking.records import Direction, ObjectTrack
from sam2_hf.tracking.selection import Selection, recent_frame, select

FRAMES_AROUND_PROMPT = 7  # strides around a prompt within which `forget_around_prompts` forgets


def select_for(
    track: ObjectTrack, frame: int, direction: Direction, num_frames: int, limits: MemoryLimits
) -> Selection:
    """Frames that an object looks at; records that were thinned out count for what they still hold."""
    selection = select(
        frame,
        track.prompted,
        track.tracked,
        direction=int(direction),
        num_frames=num_frames,
        stride=limits.stride,
        max_prompted=limits.max_prompted,
        pointer_reach=limits.pointer_reach(num_frames),
        num_slots=limits.slots,
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
    tracks: list[ObjectTrack], selections: list[Selection], divisor: int, device: torch.device, dtype: torch.dtype
) -> MemoryBatch:
    """What objects of equal signature remember, stacked; distances of pointers are divided by `divisor`."""
    spatial, pointers = [], []
    for track, selection in zip(tracks, selections, strict=True):
        maps = [track.memories[frame].spatial for frame, _ in selection.spatial]
        spatial.append(torch.stack(maps))  # type: ignore[arg-type]  # kept while it can be selected
        held = [track.memories[frame].result.object_pointer for frame, _ in selection.pointers]
        if held:
            pointers.append(torch.stack(held))  # type: ignore[arg-type]  # kept while it can be selected
    newest = tracks[0].memories[selections[0].spatial[0][0]].result.object_pointer
    width = newest.shape[-1]  # type: ignore[union-attr]  # kept while it can be selected
    no_pointers = torch.zeros(len(tracks), 0, width)
    return MemoryBatch(
        spatial=torch.stack(spatial).to(device=device, dtype=dtype),
        spatial_time=torch.tensor([[slot for _, slot in selection.spatial] for selection in selections], device=device),
        pointers=(torch.stack(pointers) if pointers else no_pointers).to(device=device, dtype=dtype),
        pointer_time=torch.tensor(
            [[distance / divisor for _, distance in selection.pointers] for selection in selections], device=device
        ),
    )


def forget_behind(
    track: ObjectTrack, frame: int, direction: Direction, limits: MemoryLimits, protected: Iterable[int] = ()
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
        keep_map = behind <= limits.maps_behind or other in protected
        keep_pointer = behind <= limits.pointers_behind or other in protected
        if not keep_map and not keep_pointer:
            del track.memories[other]
            continue
        result = replace(memory.result, mask_logits=None)
        if not keep_pointer:
            result = replace(result, object_pointer=None)
        track.memories[other] = replace(memory, result=result, spatial=memory.spatial if keep_map else None)


def has_forgotten_near(track: ObjectTrack, frame: int, limits: MemoryLimits) -> bool:
    """Whether maps that a new prompt on a visited frame would look at are gone."""
    direction = track.visited.get(frame)
    if direction is None:
        return False
    near = (recent_frame(frame, rank, direction, limits.stride) for rank in range(1, limits.slots))
    passed = [other for other in near if other in track.visited]
    return any(other not in track.memories or track.memories[other].spatial is None for other in passed)


def forget_around(track: ObjectTrack, frame: int, stride: int) -> None:
    """Drops tracked records around a prompt."""
    reach = FRAMES_AROUND_PROMPT * stride
    for other in track.tracked:
        if abs(other - frame) <= reach:
            del track.memories[other]
