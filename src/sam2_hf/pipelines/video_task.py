"""The task `video-object-segmentation`: a video and prompts in, an iterator of `VideoFrameResult` out."""

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from sam2_hf.errors import PromptError
from sam2_hf.pipelines.prompt_file import read_prompt_file
from sam2_hf.pipelines.signatures import takes_arguments_of
from sam2_hf.pipelines.task import Sam2Pipeline, refuse_beside_file, refuse_unknown
from sam2_hf.pipelines.video import VideoFrameResult
from sam2_hf.pipelines.video_pass import VideoSpan, add_requests, frames_of_span, pass_of_span, results_of_pass
from sam2_hf.processing.prompts import ObjectPrompt
from sam2_hf.processing.requests import NOTHING_GIVEN, requests_from
from sam2_hf.processing.video import PICTURE_SUFFIXES
from sam2_hf.tracking.policy import TrackingPolicy
from sam2_hf.tracking.session import Sam2InferenceSession

PROMPTS = ("points", "labels", "boxes", "masks", "objects", "object_ids", "prompts", "frame")
SPAN = tuple(entry.name for entry in fields(VideoSpan))
POLICY = tuple(entry.name for entry in fields(TrackingPolicy))


class VideoObjectSegmentationPipeline(Sam2Pipeline):
    """Objects prompted on any frame of a video, followed through it.

    ```python
    track = sam2_hf.pipeline("video-object-segmentation", model="facebook/sam2.1-hiera-tiny")
    for frame in track("clip.mp4", objects=[{"id": 1, "frame": 0, "box": [300, 0, 500, 400]}]):
        frame.plot()
    ```
    """

    def _sanitize_parameters(self, **parameters):
        refuse_unknown("video-object-segmentation", parameters, (*PROMPTS, "normalized", *SPAN, *POLICY, "policy"))
        prompts = {name: parameters[name] for name in PROMPTS if parameters.get(name) is not None}
        span = {name: parameters[name] for name in SPAN if name in parameters}
        tracking = {name: parameters[name] for name in ("normalized", *POLICY, "policy") if name in parameters}
        return {**prompts, **span}, tracking, {}

    @takes_arguments_of(requests_from, VideoSpan, TrackingPolicy, but=("mask_logits",))
    def __call__(
        self,
        inputs,
        *,
        prompts: str | Path | None = None,
        normalized: bool | None = None,
        policy: TrackingPolicy | None = None,
        **given,
    ) -> Iterator[VideoFrameResult] | list[Iterator[VideoFrameResult]]:
        """Follows objects.

        Args:
            inputs: a video as `Sam2InferenceSession` takes it: path, folder, address, list, array or tensor of frames,
                iterator, camera number; or a list of paths, of arrays or of lists, one per video.
            prompts: a file of them.
            normalized: points and boxes are fractions of width and height.
            policy: a whole `TrackingPolicy`.
            given: points, labels, boxes, masks, object_ids on `frame`, or objects with a frame each, as for
                `sam2_hf.processing.requests.requests_from`; fields of `VideoSpan`; fields of `TrackingPolicy`, which
                replace those of `policy`.

        Returns:
            An iterator of results, one frame at a time; for a list of videos a list of iterators, to be consumed one
            after the other.

        Raises:
            PromptError: no prompt, or one that cannot be meant; before the first frame is followed.
            SourceError: a video that cannot be read.
        """
        own = {"prompts": prompts, "normalized": normalized, "policy": policy}
        given |= {name: value for name, value in own.items() if value is not None}
        before, during, _ = self._sanitize_parameters(**given)
        before, during = {**self._preprocess_params, **before}, {**self._forward_params, **during}
        if not _are_videos(inputs):
            return self.run_single(inputs, before, during, {})
        _requests({name: before[name] for name in PROMPTS if name in before})  # wrong prompts raise at once
        return [self._when_asked(video, before, during) for video in inputs]

    def _when_asked(self, video, before: dict, during: dict) -> Iterator[VideoFrameResult]:
        """Opens a video at its first frame, so that several are not held at once."""
        yield from self.run_single(video, before, during, {})

    def preprocess(self, inputs, **parameters) -> dict:
        """The frames that are looked at, and what is asked on them."""
        requests = _requests({name: value for name, value in parameters.items() if name in PROMPTS})
        span = VideoSpan(**{name: value for name, value in parameters.items() if name in SPAN})
        return {"frames": frames_of_span(inputs, span), "requests": requests, "span": span}

    def _forward(self, input_tensors: dict, *, policy=None, normalized: bool = False, **chosen) -> dict:
        """A prompted session and its pass, frame by frame as they are asked for; wrong prompts raise at once."""
        requests, span = input_tensors["requests"], input_tensors["span"]
        policy = replace(policy or TrackingPolicy(), **chosen)
        session = Sam2InferenceSession(self.model, self.segmenter, input_tensors["frames"], policy=policy)
        add_requests(session, requests, span, normalized)
        asked = [request.in_pixels(session.size) if normalized else request for request in requests]
        return {"session": session, "passed": pass_of_span(session, span), "requests": asked, "span": span}

    def postprocess(self, model_outputs: dict) -> Iterator[VideoFrameResult]:
        """Results frame by frame, at the video's size."""
        return results_of_pass(**model_outputs)


def _requests(prompts: dict[str, Any]) -> list[ObjectPrompt]:
    if "prompts" in prompts:
        refuse_beside_file(prompts)
        return read_prompt_file(prompts["prompts"])
    requests = requests_from(**prompts)
    if not requests:
        raise PromptError(NOTHING_GIVEN)
    return requests


def _are_videos(inputs) -> bool:
    """A list of videos, and not a list of frames: of paths, of arrays with four axes, or of lists."""
    if not isinstance(inputs, (list, tuple)) or not inputs:
        return False
    first = inputs[0]
    if isinstance(first, (str, Path)):
        return not str(first).lower().endswith(PICTURE_SUFFIXES)
    return isinstance(first, (list, tuple)) or getattr(first, "ndim", 0) == 4
