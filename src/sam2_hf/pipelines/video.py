"""A session's pass as results that can be drawn and saved, one frame at a time."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from sam2_hf.pipelines.results import ImageResult
from sam2_hf.processing.masks import stability_scores
from sam2_hf.processing.rle import Masks
from sam2_hf.tracking.records import FrameMasks
from sam2_hf.tracking.session import Sam2InferenceSession


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoFrameResult(ImageResult):
    """Objects of one frame of a video.

    Attributes:
        frame: counted from 0.
        time: seconds from the first frame, nan if the source has no time.
        is_visible: (N,) bool, the object's score is above 0 and its mask is not empty.
        is_prompted: (N,) bool, the frame holds a prompt of the user for the object.
    """

    frame: int = 0
    time: float = float("nan")
    is_visible: np.ndarray
    is_prompted: np.ndarray

    def _parallel(self) -> list[str]:
        return [*super()._parallel(), "is_visible", "is_prompted"]

    def to_dict(self) -> dict:
        """As for a picture, with the frame's number and time, and per object whether it is visible and prompted."""
        record = super().to_dict()
        for index, entry in enumerate(record["objects"]):
            entry |= {"visible": bool(self.is_visible[index]), "prompted": bool(self.is_prompted[index])}
        return {"frame": self.frame, "time": None if np.isnan(self.time) else self.time, **record}

    @classmethod
    def from_dict(cls, record: dict) -> "VideoFrameResult":
        """The result that `to_dict` wrote."""
        image = ImageResult.from_dict(record)
        objects = record["objects"]
        return cls(
            **{name: getattr(image, name) for name in image.__dataclass_fields__},
            frame=record["frame"],
            time=float("nan") if record["time"] is None else record["time"],
            is_visible=np.array([entry["visible"] for entry in objects], dtype=bool),
            is_prompted=np.array([entry["prompted"] for entry in objects], dtype=bool),
        )


def follow(session: Sam2InferenceSession, direction: str = "forward", **span) -> Iterator[VideoFrameResult]:
    """`session.propagate` with frames as `VideoFrameResult`; the frame's picture comes with it where it can be had.

    Args:
        direction, span: as for `Sam2InferenceSession.propagate`.
    """
    for frame in session.propagate(direction, **span):
        yield frame_result(session, frame)


def frame_result(session: Sam2InferenceSession, frame: FrameMasks) -> VideoFrameResult:
    """One frame of a session with run-length masks."""
    masks = Masks.from_dense(frame.masks.cpu().numpy(), session.size)
    scores = frame.object_score_logits.float().cpu().numpy()
    source = session.source
    time_of = getattr(source, "time", None)
    return VideoFrameResult(
        source=session.video_path,
        size=session.size,
        masks=masks,
        object_ids=frame.object_ids,
        boxes=masks.boxes(),
        iou_scores=frame.iou_scores.float().cpu().numpy(),
        stability=stability_scores(frame.mask_logits).float().cpu().numpy(),
        object_scores=scores,
        image=None if source is None else source[frame.frame_index],
        frame=frame.frame_index,
        time=float("nan") if time_of is None else time_of(frame.frame_index),
        is_visible=(scores > 0) & (masks.areas() > 0),
        is_prompted=frame.is_prompted.cpu().numpy(),
    )


def with_picture(result: VideoFrameResult, session: Sam2InferenceSession) -> VideoFrameResult:
    """A result that was read back from disk, with its frame's picture for drawing."""
    return replace(result, image=session.source[result.frame])
