"""From requests and a part of a video to a session, and to its results with the user's frame numbers and names."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from sam2_hf.errors import PromptError
from sam2_hf.modeling.model import Sam2Model
from sam2_hf.pipelines.records import class_numbers
from sam2_hf.pipelines.video import VideoFrameResult, frame_result
from sam2_hf.processing.processor import Sam2Processor
from sam2_hf.processing.prompts import ObjectPrompt, as_tensor
from sam2_hf.processing.rle import Masks
from sam2_hf.processing.video import SampledFrames, frames_from, stream_from
from sam2_hf.tracking.policy import TrackingPolicy
from sam2_hf.tracking.records import FrameMasks
from sam2_hf.tracking.session import Sam2InferenceSession


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSpan:
    """Which part of a video is looked at, and which way. Frames are those of the video, counted from 0.

    Attributes:
        direction: "forward", "backward" or "both".
        start: frame to start at; None: the first prompted one, backward the last.
        end: frames from here on are not looked at.
        stride: look at every so many frames.
        max_frames: follow at most so many in each direction, the start included.
    """

    direction: str = "forward"
    start: int | None = None
    end: int | None = None
    stride: int = 1
    max_frames: int | None = None

    def __post_init__(self):
        if self.stride < 1:
            raise ValueError(f"`stride` is {self.stride}, but it must be at least 1")
        if self.end is not None and self.end < 1:
            raise ValueError(f"`end` is {self.end}, but it must be at least 1")

    def row(self, frame: int) -> int:
        """The number of a frame among those that are looked at.

        Raises:
            PromptError: it is not looked at.
        """
        if self.end is not None and frame >= self.end:
            raise PromptError(f"frame {frame} is not looked at, the video ends before frame {self.end}; raise `end`")
        if frame % self.stride:
            before = frame - frame % self.stride
            raise PromptError(
                f"frame {frame} is not looked at with a stride of {self.stride}; "
                f"use frame {before} or {before + self.stride}"
            )
        return frame // self.stride

    @property
    def is_whole(self) -> bool:
        """Every frame is looked at."""
        return self.stride == 1 and self.end is None


def open_session(
    model: Sam2Model, processor: Sam2Processor, video, span: VideoSpan, policy: TrackingPolicy
) -> Sam2InferenceSession:
    """A session on a part of a video; its frame numbers are those of `span.row`."""
    return Sam2InferenceSession(model, processor, frames_of_span(video, span), policy=policy)


def frames_of_span(video, span: VideoSpan):
    """The frames of a video that are looked at, as a session takes them."""
    if span.is_whole:
        return video
    stream = stream_from(video)
    if stream is not None:
        return islice(stream, 0, span.end, span.stride)
    path = video if isinstance(video, (str, Path)) else None
    return SampledFrames(frames_from(video), end=span.end, stride=span.stride, path=path)


def add_requests(
    session: Sam2InferenceSession, requests: Iterable[ObjectPrompt], span: VideoSpan, normalized: bool = False
) -> None:
    """Gives a session all prompts.

    Raises:
        PromptError: one that cannot be meant, or on a frame that is not there.
    """
    for request in requests:
        if request.mask_logits is not None:
            raise PromptError(f"object {request.object_id!r}: a video takes no `mask_logits`; give a binary `mask`")
        session.give(span.row(request.frame), request.object_id, request, normalized=normalized)


def follow_span(
    session: Sam2InferenceSession, requests: Sequence[ObjectPrompt], span: VideoSpan, *, normalized: bool = False
) -> Iterator[VideoFrameResult]:
    """Follows the objects of a session that `open_session` made and `add_requests` prompted; see `results_of_pass`."""
    asked = [request.in_pixels(session.size) if normalized else request for request in requests]
    return results_of_pass(session, pass_of_span(session, span), asked, span)


def pass_of_span(session: Sam2InferenceSession, span: VideoSpan) -> Iterator[FrameMasks]:
    """Masks frame by frame; refuses at once what cannot be followed."""
    start = None if span.start is None else span.row(span.start)
    return session.propagate(span.direction, start_frame=start, max_frames=span.max_frames)


def results_of_pass(
    session: Sam2InferenceSession,
    passed: Iterable[FrameMasks],
    requests: Sequence[ObjectPrompt],
    span: VideoSpan,
) -> Iterator[VideoFrameResult]:
    """A pass as results with the video's own frame numbers, the names of classes, and what was asked on its frame.

    Args:
        requests: in pixels of the video.
    """
    return (_as_asked(frame_result(session, frame), requests, span) for frame in passed)


def _as_asked(result: VideoFrameResult, requests: Sequence[ObjectPrompt], span: VideoSpan) -> VideoFrameResult:
    names = {request.object_id: request.label for request in requests if request.label is not None}
    classes = list(dict.fromkeys(names.values()))
    labels = tuple(names.get(key) for key in result.object_ids)
    frame = result.frame * span.stride
    here = [request for request in requests if request.frame == frame]
    prompts = {request.object_id: request.kept for request in here}
    return replace(
        _with_given_masks(result, {request.object_id: request.mask for request in here if request.mask is not None}),
        frame=frame,
        labels=labels,
        class_ids=class_numbers(labels, classes),
        prompts=tuple(prompts.get(key) for key in result.object_ids) if prompts else (),
    )


def _with_given_masks(result: VideoFrameResult, given: dict) -> VideoFrameResult:
    """The result with masks that the user gave on its frame as they were given, not as the model's grid shows them."""
    if not given:
        return result
    height, width = result.size
    rle = list(result.masks.rle)
    for row, object_id in enumerate(result.object_ids):
        if object_id in given:
            inside = as_tensor(given[object_id]).numpy() > 0
            if inside.shape != result.size:
                resized = Image.fromarray(inside).resize((width, height), Image.Resampling.NEAREST)
                inside = np.asarray(resized)
            rle[row] = Masks.from_dense(inside[None], result.size).rle[0]
    masks = Masks(rle, result.size)
    is_visible = (result.object_scores > 0) & (masks.areas() > 0)
    return replace(result, masks=masks, boxes=masks.boxes(), is_visible=is_visible)
