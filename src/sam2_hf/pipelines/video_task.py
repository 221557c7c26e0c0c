"""The task `video-object-segmentation`: a video and prompts in, an iterator of `VideoFrameResult` out."""

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from sam2_hf.errors import PromptError
from sam2_hf.pipelines.prompt_file import read_prompt_file
from sam2_hf.pipelines.task import Sam2Pipeline, refuse_beside_file, refuse_unknown
from sam2_hf.pipelines.video import VideoFrameResult
from sam2_hf.pipelines.video_pass import VideoSpan, follow_requests, open_session
from sam2_hf.processing.prompts import ObjectPrompt
from sam2_hf.processing.requests import NOTHING_GIVEN, requests_from
from sam2_hf.processing.video import PICTURE_SUFFIXES
from sam2_hf.tracking.policy import TrackingPolicy

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
        return prompts, {name: value for name, value in parameters.items() if name not in PROMPTS}, {}

    def __call__(self, inputs, **parameters) -> Iterator[VideoFrameResult] | list[Iterator[VideoFrameResult]]:
        """Follows objects.

        Args:
            inputs: a video as `Sam2InferenceSession` takes it: path, folder, address, list, array or tensor of frames,
                iterator, camera number; or a list of paths, of arrays or of lists, one per video.
            parameters: `points`, `labels`, `boxes`, `masks`, `object_ids` on `frame` (default 0), or `objects` with a
                frame each, or `prompts`, a file; `normalized`; fields of `VideoSpan`; fields of `TrackingPolicy`, or
                a whole one as `policy`.

        Returns:
            An iterator of results, one frame at a time; for a list of videos a list of iterators, to be consumed one
            after the other.

        Raises:
            PromptError: no prompt, or one that cannot be meant; before the first frame is followed.
            SourceError: a video that cannot be read.
        """
        prompts, options, _ = self._sanitize_parameters(**parameters)
        prompts, options = {**self._preprocess_params, **prompts}, {**self._forward_params, **options}
        requests = _requests(prompts)
        if not _are_videos(inputs):
            return self.forward(self.preprocess(inputs, requests=requests), **options)
        return [self._when_asked(video, requests, options) for video in inputs]

    def _when_asked(self, video, requests: list[ObjectPrompt], options: dict) -> Iterator[VideoFrameResult]:
        """Opens a video at its first frame, so that several are not held at once."""
        yield from self.forward(self.preprocess(video, requests=requests), **options)

    def _forward(self, input_tensors: dict, *, policy=None, normalized: bool = False, **options):
        span = VideoSpan(**{name: options[name] for name in SPAN if name in options})
        chosen = {name: options[name] for name in POLICY if name in options}
        session = open_session(
            self.model, self.segmenter, input_tensors["inputs"], span, replace(policy or TrackingPolicy(), **chosen)
        )
        return follow_requests(session, input_tensors["requests"], span, normalized=normalized)


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
