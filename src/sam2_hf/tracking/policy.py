"""`TrackingPolicy`: every choice that tracking leaves open, in one frozen record."""

from dataclasses import dataclass
from typing import Literal

import torch


@dataclass(frozen=True, kw_only=True)
class TrackingPolicy:
    """How a session tracks. The defaults are our choice; `TrackingPolicy.upstream()` is the original's.

    Attributes:
        keep_corrections: a corrected frame becomes, or replaces, a prompted frame. The original loses it.
        max_prompted_frames: prompted frames in memory attention, at least 2; None: as the configuration says, which is
            no limit in every release.
        recent_stride: distance between recent frames in memory.
        keep: "all" keeps every record, "window" forgets what a running pass can never read again, "auto" is "window"
            for streams and "all" for whole videos.
        offload: "state" keeps records on the CPU, "video" keeps frames there, "all" both. Numbers do not change.
        memory_dtype: of stored memory maps; None: the model's.
        pointer_span: frames that object pointers reach back, at most what the configuration allows; None: that, which
            is 15 in every release; "clip": the original's dependence on the length of the clip.
        fill_hole_area: holes of up to so many low-resolution pixels are filled in what is shown.
        binarize_prompted_masks: remember prompted frames as binary masks.
        dynamic_multimask: replace an unstable single mask by the best candidate.
        non_overlap: in what is shown, a pixel belongs to the object with the highest logit only.
        include_before_first_prompt: track an object also on frames before its first prompt in the direction of a pass.
        clear_keeps_memory: clearing prompts leaves their record as tracked memory.
        backward_start: where a backward pass starts by default, the "last" or the "first" prompted frame.
        require_all_prompted: an object without prompts is an error instead of being left out.
        forget_around_prompts: at a prompt, forget this object's tracked records within seven strides.
    """

    keep_corrections: bool = True
    max_prompted_frames: int | None = None
    recent_stride: int = 1
    keep: Literal["auto", "all", "window"] = "auto"
    offload: Literal["none", "state", "video", "all"] = "none"
    memory_dtype: torch.dtype | None = None
    pointer_span: int | Literal["clip"] | None = None
    fill_hole_area: int = 8
    binarize_prompted_masks: bool = True
    dynamic_multimask: bool = True
    non_overlap: bool = False
    include_before_first_prompt: bool = False
    clear_keeps_memory: bool = False
    backward_start: Literal["last", "first"] = "last"
    require_all_prompted: bool = False
    forget_around_prompts: bool = False

    def __post_init__(self):
        rules = {
            "max_prompted_frames": (
                self.max_prompted_frames is None or self.max_prompted_frames >= 2,
                "None or at least 2",
            ),
            "recent_stride": (self.recent_stride >= 1, "at least 1"),
            "keep": (self.keep in ("auto", "all", "window"), "'auto', 'all' or 'window'"),
            "offload": (self.offload in ("none", "state", "video", "all"), "'none', 'state', 'video' or 'all'"),
            "pointer_span": (
                self.pointer_span in (None, "clip") or self.pointer_span >= 1,
                "None, 'clip' or at least 1",
            ),
            "fill_hole_area": (self.fill_hole_area >= 0, "0 or more"),
            "backward_start": (self.backward_start in ("last", "first"), "'last' or 'first'"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise ValueError(f"`{name}` is {getattr(self, name)!r}, but it must be {rule}")

    @classmethod
    def upstream(cls) -> "TrackingPolicy":
        """The original's video predictor, its defects included where they can be had."""
        return cls(
            keep_corrections=False,
            keep="all",
            memory_dtype=torch.bfloat16,
            pointer_span="clip",
            include_before_first_prompt=True,
            clear_keeps_memory=True,
            backward_start="first",
            require_all_prompted=True,
        )
