"""Prompts that a simulated user gives to a session, from the truth of one frame."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from sam2_hf.evaluation.metrics import tight_box
from sam2_hf.evaluation.picture_prompts import error_click
from sam2_hf.processing.video import PictureFrames
from sam2_hf.tracking.records import FrameMasks

PROMPTS = {"mask": 0, "box": 0, "1-click": 1, "3-click": 3, "5-click": 5}  # and how many clicks


class ClipFrames(Sequence):
    """Pictures of a clip, read when they are asked for."""

    def __init__(self, clip):
        self._clip = clip

    def __len__(self) -> int:
        return self._clip.num_frames

    def __getitem__(self, index: int):
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} is not in the clip (0..{len(self) - 1})")
        return self._clip.frame(index)


def frames_of(clip) -> PictureFrames:
    """A clip as the video of a session."""
    return PictureFrames(ClipFrames(clip))


def first_appearances(clip, object_ids: Sequence[int] | None = None) -> dict[int, tuple[int, np.ndarray]]:
    """The first frame whose truth shows an object, and its mask there (height, width); none if it is never shown.

    Args:
        object_ids: of these objects only; default: all of the clip.
    """
    wanted = set(clip.object_ids if object_ids is None else object_ids)
    found: dict[int, tuple[int, np.ndarray]] = {}
    for frame in clip.labelled_frames:
        if len(found) == len(wanted):
            break
        masks = clip.masks(frame)
        found |= {key: (frame, masks[key]) for key in wanted - found.keys() if key in masks and masks[key].any()}
    return {key: found[key] for key in sorted(found)}


def give_prompt(
    session, frame: int, object_id: int, truth: np.ndarray, kind: str, void: np.ndarray | None = None
) -> None:
    """Prompts an object on a frame: with its mask, its tight box, or clicks at the centre of what is wrong.

    Args:
        truth: (height, width) bool, not empty.
        kind: one of `PROMPTS`.
        void: (height, width) bool, pixels that are never wrong.
    """
    where = {"frame_index": frame, "object_id": object_id}
    if kind == "mask":
        session.add_prompt(**where, mask=truth)
    elif kind == "box":
        session.add_prompt(**where, box=_box_with_area(truth))
    else:
        for _ in give_clicks(session, frame, object_id, truth, None, PROMPTS[kind], void):
            pass


def give_clicks(
    session,
    frame: int,
    object_id: int,
    truth: np.ndarray,
    shown: np.ndarray | None,
    count: int,
    void: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """Clicks on a frame, the mask after each; fewer when nothing is wrong any more.

    Args:
        shown: (height, width) bool, what the user sees before the first click; None: nothing.
        void: (height, width) bool, pixels that are never wrong.
    """
    shown = np.zeros_like(truth) if shown is None else shown
    for number in range(count):
        click = error_click(truth, shown)
        if click is None:
            return
        x, y, label = click
        answer = session.add_prompt(
            frame_index=frame, object_id=object_id, points=[[x, y]], labels=[label], clear_old_points=number == 0
        )
        shown = mask_of(answer, object_id)
        shown = shown if void is None else shown & ~void
        yield shown


def mask_of(frame: FrameMasks, object_id: int, threshold: float = 0.0) -> np.ndarray:
    """One object's mask (height, width) bool on the CPU; empty where nothing is known of it."""
    if object_id not in frame.object_ids:
        return np.zeros(tuple(frame.mask_logits.shape[-2:]), dtype=bool)
    return to_mask(frame.mask_logits[frame.object_ids.index(object_id)], threshold)


def to_mask(logits: Tensor, threshold: float = 0.0) -> np.ndarray:
    """Logits as a bool array on the CPU."""
    return torch.gt(logits, threshold).cpu().numpy()


def _box_with_area(truth: np.ndarray) -> list[float]:
    """The tight box; one that is a single pixel wide gets half a pixel more, for a line is no box."""
    x0, y0, x1, y1 = (float(side) for side in tight_box(truth))
    return [x0, y0, x1 if x1 > x0 else x0 + 0.5, y1 if y1 > y0 else y0 + 0.5]
