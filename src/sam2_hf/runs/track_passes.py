"""The two kinds of passes over a video, with one face: prompted objects, and everything there is."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from sam2_hf.pipelines.video_generation import Sam2VideoMaskGenerator
from sam2_hf.pipelines.video_pass import add_requests, follow_span, frames_of_span, open_session
from sam2_hf.runs.track_settings import TrackSettings
from sam2_hf.tracking.session import Sam2InferenceSession


class PromptedPass:
    """Objects that were prompted, through a session on the video.

    Args:
        parts: model and processor.
        video: as a session takes it.
        span: `VideoSpan`.
        policy: `TrackingPolicy`.
        settings: of the run, with its requests.
    """

    def __init__(self, parts: tuple[Any, Any], video, span, policy, settings: TrackSettings):
        self.parts, self.video, self.span, self.policy = parts, video, span, policy
        self.normalized, self.requests = settings.normalized, settings.requests
        self.session: Any = None  # made by `covered` or `begin`
        self.can_resume = span.direction == "forward"
        self.why_empty = None  # of passes that look for objects
        self._passed: Any = None
        self._at: int | None = None  # the frame whose result came last

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the video."""
        return self.session.size

    @property
    def fps(self) -> float | None:
        """Of the frames looked at."""
        return None if self.session.source is None else self.session.source.fps

    @property
    def num_frames(self) -> int | None:
        """Frames looked at, if they can be counted."""
        return None if self.session.source is None else self.session.num_frames

    @property
    def total(self) -> int | None:
        """Results of the whole pass, if they can be counted."""
        if self.num_frames is None or self.span.direction != "forward":
            return None
        rows = self.num_frames - self.span.row(self._first())
        return rows if self.span.max_frames is None else min(rows, self.span.max_frames)

    def covered(self, state: Path, results) -> int:
        """How many of the results on disk a saved state has seen; 0 if the two do not belong together."""
        self.session = self._load(state)
        rows = [row for track in self.session.tracks.values() for row in track.visited]
        last = max(rows, default=-1) * self.span.stride
        frames = [result.frame for result in results if result.frame <= last]
        return len(frames) if frames and frames[-1] == last else 0

    def begin(self, done) -> None:
        """Makes the session ready: prompted, or as it was saved after the results that are done (`covered`)."""
        if done:
            self._at = max(result.frame for result in done)
            return
        self.session = open_session(*self.parts, self.video, self.span, self.policy)
        add_requests(self.session, self.requests, self.span, self.normalized)
        self._passed = follow_span(self.session, self.requests, self.span, normalized=self.normalized)  # may refuse

    def results(self):
        """Results of the frames that are still to come."""
        passed = self._passed or self._go_on()
        self._passed = None
        for result in passed:
            self._at = result.frame
            yield result

    def skip_frame(self) -> int | None:
        """Leaves out the next frame, and says which it was; None where the pass cannot go on."""
        if not self.can_resume or self.session.source is None:
            return None
        self._at = self._first() if self._at is None else self._at + self.span.stride
        return self._at

    def with_picture(self, result):
        """A result that was read from disk, with its picture."""
        return replace(result, image=self.session.source[result.frame // self.span.stride])

    def _first(self) -> int:
        if self.span.start is not None:
            return self.span.start
        return min(request.frame for request in self.requests)

    def _go_on(self):
        """A pass from the frame after the last one."""
        start = self._at + self.span.stride
        passed = (start - self._first()) // self.span.stride
        left = None if self.span.max_frames is None else self.span.max_frames - passed
        if left == 0 or start // self.span.stride >= self.session.num_frames:
            return iter(())
        rest = replace(self.span, start=start, max_frames=left)
        return follow_span(self.session, self.requests, rest, normalized=self.normalized)

    def _load(self, state: Path):
        return Sam2InferenceSession.load(state, *self.parts, video=frames_of_span(self.video, self.span))


class EverythingPass:
    """Everything in the video; arguments as for `PromptedPass`."""

    def __init__(self, parts, video, span, policy, settings: TrackSettings):
        own = ("detect_every", "track_iou", "max_objects", "min_area", "points_per_side")
        given = {"pred_iou_thresh": settings.min_iou, "stability_score_thresh": settings.min_stability}
        given |= {name: getattr(settings, name) for name in own}
        given = {name: value for name, value in given.items() if value is not None}
        generator = Sam2VideoMaskGenerator(*parts, policy=policy, **given)
        self.parts, self.span = parts, span
        self._run = generator.begin(video, span)
        self.can_resume = self._run.is_file

    @property
    def session(self):
        """What is remembered."""
        return self._run.session

    @property
    def fps(self) -> float | None:
        """Of the frames looked at."""
        return self._run.fps

    @property
    def why_empty(self) -> str | None:
        """Where nothing has been found: what the candidates fell to."""
        return self._run.why_empty

    @property
    def total(self) -> int | None:
        """Results of the whole pass, if they can be counted."""
        return self._run.total

    def covered(self, state: Path, results) -> int:
        """How many of the results on disk a saved state has seen; 0 if the two do not belong together."""
        self._saved = self._load(state)
        count = self._saved.num_frames
        return count if len(results) >= count else 0

    def begin(self, done) -> None:
        """Makes the run ready: fresh, or as it was saved after the results that are done (`covered`)."""
        if done:
            self._run.go_on(self._saved, done)

    def results(self):
        """Results of the frames that are still to come."""
        return self._run.results()

    def skip_frame(self) -> int | None:
        """Leaves out the next frame, and says which it was; None where the pass cannot go on."""
        return self._run.skip_frame() if self.can_resume else None

    def with_picture(self, result):
        """A result that was read from disk, with its picture."""
        return self._run.with_picture(result)

    def _load(self, state: Path):
        return Sam2InferenceSession.load(state, *self.parts)
