"""How far memory reaches: what the checkpoint's configuration allows and the policy chooses, as integers."""

from dataclasses import dataclass
from typing import Literal

from sam2_hf.modeling.configuration import Sam2Config
from sam2_hf.tracking.policy import TrackingPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLimits:
    """What one object may look at.

    Attributes:
        slots: temporal slots of spatial memory: prompted frames share one, recent frames have one each.
        pointers: object pointers, that of the frame at hand counted.
        max_prompted: limit of prompted frames, None for none.
        stride: distance between recent frames.
        pointer_span: frames that pointers reach back, or "clip": fewer in a clip that is shorter.
    """

    slots: int
    pointers: int
    max_prompted: int | None
    stride: int
    pointer_span: int | Literal["clip"]

    @classmethod
    def of(cls, config: Sam2Config, policy: TrackingPolicy) -> "MemoryLimits":
        """Limits of a model under a policy, whose own limits win.

        Raises:
            ValueError: the policy asks for pointers that the model was not made for.
        """
        allowed = config.max_object_pointers_in_encoder - 1
        span = allowed if policy.pointer_span is None else policy.pointer_span
        if span != "clip" and span > allowed:
            raise ValueError(
                f"`pointer_span` is {span}, but the model has max_object_pointers_in_encoder="
                f"{config.max_object_pointers_in_encoder}: it must be at most {allowed}"
            )
        of_config = None if config.max_cond_frame_num == -1 else config.max_cond_frame_num
        return cls(
            slots=config.num_maskmem,
            pointers=config.max_object_pointers_in_encoder,
            max_prompted=of_config if policy.max_prompted_frames is None else policy.max_prompted_frames,
            stride=policy.recent_stride,
            pointer_span=span,
        )

    def pointer_reach(self, num_frames: int) -> int:
        """Frames that pointers of tracked frames reach back in a video of so many known frames."""
        return min(num_frames, self.pointers) - 1 if self.pointer_span == "clip" else self.pointer_span

    def pointer_divisor(self, num_frames: int) -> int:
        """What the distance of a pointer is divided by; never below 1, also in a video of one frame."""
        return max(self.pointer_reach(num_frames), 1)

    @property
    def maps_behind(self) -> int:
        """Frames behind a frame that was just left whose maps can still be read."""
        return (self.slots - 2) * self.stride

    @property
    def pointers_behind(self) -> int:
        """The same for pointers."""
        return (self.pointers - 1 if self.pointer_span == "clip" else self.pointer_span) - 1

    @property
    def reach(self) -> int:
        """Frames from the start of a pass both ways, it included, that the way back will look at."""
        return max(self.maps_behind, self.pointers_behind) + 2
