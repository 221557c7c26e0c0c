"""A session's pass as results that can be drawn and saved, one frame at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from sam2_hf.pipelines.records import fields_of, name_of
from sam2_hf.pipelines.results import ImageResult
from sam2_hf.pipelines.writing.exports import finite, numbers_of
from sam2_hf.processing.masks import stability_scores
from sam2_hf.processing.rle import Masks
from sam2_hf.processing.video import frames_from
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

    @property
    def file_name(self) -> str:
        """`<video>/<frame>.jpg`, as data sets of videos name frames; the file itself need not exist."""
        return f"{self.video_stem}/{self.frame:05d}.jpg"

    @property
    def stem(self) -> str:
        """What files made of this frame begin with."""
        return f"{self.video_stem}_{self.frame:05d}"

    @property
    def video_stem(self) -> str:
        """Name of the video without its suffix."""
        return Path(name_of(self.source)).stem or "video"

    def pixels(self) -> np.ndarray:
        """The frame itself, (height, width, 3) uint8, a copy; read again from the video if it is not kept."""
        if self.image is not None or self.source is None:
            return super().pixels()
        return replace(self, image=frame_picture(self.source, self.frame)).pixels()

    def to_coco(
        self, image_id: int = 1, first_id: int = 1, categories: Sequence[dict] | None = None, polygons: bool = False
    ) -> dict:
        """As for a picture, with `track_id`: the id where all ids are whole numbers, else the place in this frame."""
        whole = super().to_coco(image_id, first_id, categories, polygons)
        for annotation, number in zip(whole["annotations"], numbers_of(self.object_ids), strict=True):
            annotation["track_id"] = number
        return whole

    def to_dict(self) -> dict[str, Any]:
        """As for a picture, with the frame's number and time, and per object whether it is visible and prompted."""
        record = super().to_dict()
        record["video"] = self.source
        record["item"] = None if self.source is None else f"{self.source}#{self.frame:06d}"
        record |= {"frame": self.frame, "time": finite(self.time)}
        for row, entry in enumerate(record["objects"]):
            entry["track"] = entry["attributes"].get("object_id", entry["id"])
            entry |= {"visible": bool(self.is_visible[row]), "prompted": bool(self.is_prompted[row])}
        return record

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "VideoFrameResult":
        """The result that `to_dict` wrote."""
        objects = record["objects"]
        return cls(
            **fields_of(record),
            frame=record["frame"],
            time=float("nan") if record["time"] is None else record["time"],
            is_visible=np.array([entry["visible"] for entry in objects], dtype=bool),
            is_prompted=np.array([entry["prompted"] for entry in objects], dtype=bool),
        )


def frame_picture(source: str, frame: int) -> Tensor:
    """One frame of a video file or a folder of frames, (3, height, width).

    Raises:
        SourceError: the video is not there or cannot be read.
    """
    return frames_from(source)[frame]


def follow(
    session: Sam2InferenceSession,
    direction: str = "forward",
    *,
    start_frame: int | None = None,
    max_frames: int | None = None,
) -> Iterator[VideoFrameResult]:
    """`session.propagate` with frames as `VideoFrameResult`; the frame's picture comes with it where it can be had.

    Args:
        direction, start_frame, max_frames: as for `Sam2InferenceSession.propagate`.
    """
    passed = session.propagate(direction, start_frame=start_frame, max_frames=max_frames)  # may refuse, at once
    return (frame_result(session, frame) for frame in passed)


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
