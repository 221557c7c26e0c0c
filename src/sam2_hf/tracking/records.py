"""What is stored of a video: plain data, one record per object and frame."""

import enum
from collections.abc import Hashable
from dataclasses import dataclass, field, fields, replace

from torch import Tensor


class Direction(enum.IntEnum):
    """Which way a pass goes through time; as a number it turns both ways into one formula."""

    FORWARD = 1
    BACKWARD = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameResult:
    """What the decoder said about one object on one frame.

    Attributes:
        mask_logits: (mask_height, mask_width) at stride 4, above 0 inside; None once it cannot be read any more.
        object_pointer: (channels,); None once it cannot be read any more.
        object_score: () logit, above 0 where the object is visible.
        iou_score: () in [0, 1].
    """

    mask_logits: Tensor | None
    object_pointer: Tensor | None
    object_score: Tensor
    iou_score: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameMemory:
    """A result that was also written to memory.

    Attributes:
        spatial: (memory_channels, height, width); None once it cannot be read any more.
        prompted: it comes from the user; such frames are never forgotten.
    """

    result: FrameResult
    spatial: Tensor | None
    prompted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A result that was shown to the user and is not in memory yet.

    Attributes:
        as_prompted: committing it makes its frame a prompted one.
    """

    result: FrameResult
    as_prompted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What the user gave for one object on one frame: points (a box is its two corners), or a mask.

    Attributes:
        points: (x, y) in model pixels.
        labels: one `PointLabel` per point.
        mask: (size, size) bool in the model's size.
    """

    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    mask: Tensor | None = None


@dataclass(slots=True)
class ObjectTrack:
    """Everything that is known of one object. A frame is never both prompted and tracked.

    Attributes:
        prompts: what the user gave, by frame.
        drafts: shown to the user, not yet in memory.
        memories: results in memory.
        visited: frames that propagation has passed, and which way.
    """

    object_id: Hashable
    prompts: dict[int, Prompt] = field(default_factory=dict)
    drafts: dict[int, Draft] = field(default_factory=dict)
    memories: dict[int, FrameMemory] = field(default_factory=dict)
    visited: dict[int, Direction] = field(default_factory=dict)

    @property
    def prompted(self) -> list[int]:
        """Frames in memory that come from the user, in order."""
        return sorted(frame for frame, memory in self.memories.items() if memory.prompted)

    @property
    def tracked(self) -> set[int]:
        """Frames in memory that come from propagation."""
        return {frame for frame, memory in self.memories.items() if not memory.prompted}

    def shown(self, frame: int) -> FrameResult | None:
        """The newest result on a frame."""
        if frame in self.drafts:
            return self.drafts[frame].result
        return self.memories[frame].result if frame in self.memories else None


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameMasks:
    """Masks of all objects on one frame. A snapshot: later calls never change it. Equal to nothing but itself.

    Attributes:
        frame_index: counted from 0.
        object_ids: the rows of everything below.
        mask_logits: (objects, height, width) float32 at the video's size.
        iou_scores: (objects,) the model's own estimate of mask IoU; 1 for a mask that the user gave.
        object_score_logits: (objects,) above 0: the object is visible on this frame.
        is_prompted: (objects,) bool, the frame holds a prompt of the user for the object.
        is_weakened: this answers a prompt, and records near its frame that would have helped were forgotten already
            (`keep="window"`).
    """

    frame_index: int
    object_ids: tuple[Hashable, ...]
    mask_logits: Tensor
    iou_scores: Tensor
    object_score_logits: Tensor
    is_prompted: Tensor
    is_weakened: bool = False

    @property
    def masks(self) -> Tensor:
        """(objects, height, width) bool."""
        return self.mask_logits > 0

    def __len__(self) -> int:
        return len(self.object_ids)

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.mask_logits.shape[-2:]))
        return f"FrameMasks(frame_index={self.frame_index}, object_ids={self.object_ids}, {size} pixels)"


def moved(record, device, dtype=None):
    """A result or memory with its tensors on another device, and its spatial map in another dtype."""
    changes = {}
    for name in (entry.name for entry in fields(record)):
        value = getattr(record, name)
        if isinstance(value, FrameResult):
            changes[name] = moved(value, device)
        elif isinstance(value, Tensor):
            changes[name] = value.to(device=device, dtype=dtype if name == "spatial" else None)
    return replace(record, **changes)
