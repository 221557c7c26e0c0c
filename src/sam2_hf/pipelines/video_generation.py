"""`Sam2VideoMaskGenerator`: everything in a video, followed through it, with ids that last.

The first frame is looked at as a whole, and so is every n-th frame after it. A mask there of which most is not covered
by objects that are being followed is a new object. Frames are taken one at a time, like those of a stream.
"""

import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, fields, replace
from itertools import islice

import numpy as np
from torch import Tensor

from sam2_hf.modeling.model import Sam2Model
from sam2_hf.pipelines.candidate_counts import NothingFoundWarning
from sam2_hf.pipelines.generator_options import GeneratorOptions
from sam2_hf.pipelines.mask_generation import Sam2MaskGenerator
from sam2_hf.pipelines.results import ImageResult
from sam2_hf.pipelines.signatures import takes_arguments_of
from sam2_hf.pipelines.video import VideoFrameResult, frame_result
from sam2_hf.pipelines.video_pass import VideoSpan, frames_of_span
from sam2_hf.processing.pixels import to_pixels
from sam2_hf.processing.processor import Sam2Processor
from sam2_hf.processing.video import frames_from, stream_from
from sam2_hf.tracking.policy import TrackingPolicy
from sam2_hf.tracking.records import FrameMasks
from sam2_hf.tracking.session import Sam2InferenceSession

Finder = Callable[[Tensor], ImageResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoGeneratorOptions:
    """When new objects are looked for, and when old ones are given up.

    Attributes:
        detect_every: frames from one look at the whole picture to the next.
        track_iou: a mask of which at least this share is covered by objects already followed is not new.
        max_objects: follow at most so many at a time, the best first; 0 for no limit.
        min_area: smaller masks, in pixels, are not followed.
        forget_after: an object that has not been seen for so many looks is given up; its id is not used again.
    """

    detect_every: int = 20
    track_iou: float = 0.5
    max_objects: int = 0
    min_area: int = 16
    forget_after: int = 4

    def __post_init__(self):
        for name, least in (("detect_every", 1), ("max_objects", 0), ("min_area", 0), ("forget_after", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"`{name}` is {getattr(self, name)}, but it must be at least {least}")
        if not 0 < self.track_iou <= 1:
            raise ValueError(f"`track_iou` is {self.track_iou}, but it must be above 0 and at most 1")


OWN_OPTIONS = tuple(entry.name for entry in fields(VideoGeneratorOptions))


class Sam2VideoMaskGenerator:
    """Finds everything in a video and follows it.

    ```python
    generator = Sam2VideoMaskGenerator(model, processor, detect_every=20, points_per_side=16)
    for frame in generator("clip.mp4"):  # VideoFrameResult
        frame.object_ids, frame.masks
    ```

    Memory does not grow with the length of the video, but for one number per object and frame: an object keeps what it
    remembers of the frame where it was found and of a few recent ones, and one that was not seen for long is given up.

    Args:
        model, processor: of the same size; the model with memory weights.
        finder: what finds objects on a frame, (3, height, width) to `ImageResult`; default: `Sam2MaskGenerator`.
        policy: how to track.
        options: fields of `VideoGeneratorOptions`, and options of `Sam2MaskGenerator`.
    """

    @takes_arguments_of(VideoGeneratorOptions, GeneratorOptions)
    def __init__(
        self,
        model: Sam2Model,
        processor: Sam2Processor,
        *,
        finder: Finder | None = None,
        policy: TrackingPolicy | None = None,
        **options,
    ):
        model.require_memory()
        self.model, self.processor, self.policy = model, processor, policy
        own = {name: options.pop(name) for name in OWN_OPTIONS if name in options}
        self.options = VideoGeneratorOptions(**own)
        self.finder = finder or Sam2MaskGenerator(model, processor, **options)
        self.find = self._found if finder is None else finder

    def __repr__(self) -> str:
        return f"Sam2VideoMaskGenerator({self.options}, finder={self.finder})"

    def __call__(self, video, **span) -> Iterator[VideoFrameResult]:
        """Everything in a video, frame by frame.

        Args:
            video: as for `Sam2InferenceSession`.
            span: `start`, `end`, `stride`, `max_frames` of `VideoSpan`; the way is always forward.

        Returns:
            Results of every frame looked at; one without objects is a result of length 0. Labels and classes are those
            that the finder gave where it found the object. A video in which nothing is ever found ends with a
            `NothingFoundWarning` that says which threshold all candidates fell to.
        """
        return self._warned(self.begin(video, VideoSpan(**span)))

    def _warned(self, run: "VideoGeneration") -> Iterator[VideoFrameResult]:
        yield from run.results()
        if run.why_empty is not None:
            message = f"nothing was found in the video: at the last look {run.why_empty}"
            warnings.warn(message, NothingFoundWarning, stacklevel=2)

    def _found(self, pixels: Tensor) -> ImageResult:
        """What the generator finds, without a warning: that a single look finds nothing is no news."""
        return next(self.finder.results([pixels]))

    def begin(self, video, span: VideoSpan) -> "VideoGeneration":
        """A run that can be saved and gone on with."""
        return VideoGeneration(self, video, span)


class VideoGeneration:
    """One run of `Sam2VideoMaskGenerator` through one video.

    Attributes:
        session: what is remembered.
        rows: frames looked at so far.
        why_empty: while nothing has been found, what the candidates of the last look fell to.
    """

    def __init__(self, generator: Sam2VideoMaskGenerator, video, span: VideoSpan):
        if span.direction != "forward":
            raise ValueError(f"`direction` is {span.direction!r}, but new objects are found forward only")
        self.generator, self.span = generator, span
        self.session = Sam2InferenceSession(generator.model, generator.processor, policy=generator.policy)
        self.rows = 0
        self._first = 0 if span.start is None else span.row(span.start)
        self._next = self._first
        frames = frames_of_span(video, span)
        self._stream = stream_from(frames)
        self._source = frames_from(frames) if self._stream is None else None
        self.why_empty: str | None = None
        self._next_id = 1
        self._unseen: dict[int, int] = {}  # object id -> frames since it was seen
        self._labels: dict[int, tuple[str | None, int]] = {}

    @property
    def is_file(self) -> bool:
        """Frames can be read again, so that the run can be gone on with."""
        return self._source is not None

    @property
    def fps(self) -> float | None:
        """Of the frames looked at, or None."""
        return None if self._source is None else self._source.fps

    def go_on(self, session: Sam2InferenceSession, earlier: Collection[VideoFrameResult]) -> None:
        """Continues from a saved session and the results up to it."""
        self.session, self.rows = session, len(earlier)
        for result in earlier:
            self._next = result.frame // self.span.stride + 1
            self._next_id = max([self._next_id, *(key + 1 for key in result.object_ids)])
            self._note(result.object_ids, result.is_visible)
            for key, label, number in zip(result.object_ids, result.labels, result.class_ids, strict=True):
                self._labels[key] = label, int(number)
        self._unseen = {key: count for key, count in self._unseen.items() if key in session.tracks}
        self._give_up()

    def skip_frame(self) -> int:
        """Leaves out the next frame, and returns its number."""
        self._next += 1
        return (self._next - 1) * self.span.stride

    def with_picture(self, result: VideoFrameResult) -> VideoFrameResult:
        """A result that was read from disk, with its frame's picture."""
        return replace(result, image=self._source[result.frame // self.span.stride])

    @property
    def total(self) -> int | None:
        """Frames of the whole run, None for a stream."""
        if self._source is None:
            return None
        rows = len(self._source) - self._first
        return rows if self.span.max_frames is None else min(rows, self.span.max_frames)

    def results(self) -> Iterator[VideoFrameResult]:
        """Results of the frames that are still to come."""
        for row, image in self._images():
            pixels = to_pixels(image)
            shown = self.session.append_frame(pixels)
            if self.rows % self.generator.options.detect_every == 0:
                shown = self._look(pixels, shown)
            self.rows += 1
            result = self._result(row, pixels, shown)
            self._note(result.object_ids, result.is_visible)
            yield result
            self._give_up()

    def _images(self) -> Iterator[tuple[int, object]]:
        """Frames with their numbers, from where the run stands."""
        last = None if self.span.max_frames is None else self._first + self.span.max_frames
        if self._stream is not None:
            for row, image in enumerate(islice(self._stream, last)):
                if row >= self._first:
                    yield row, image
            return
        end = len(self._source) if last is None else min(last, len(self._source))
        while self._next < end:
            image = self._source[self._next]
            self._next += 1
            yield self._next - 1, image

    def _look(self, pixels: Tensor, shown: FrameMasks) -> FrameMasks:
        """Finds new objects on a frame."""
        found = self.generator.find(pixels)
        new = self._new(found, shown)
        masks = {}
        for index in new:
            masks[self._next_id] = found.masks[index]
            self._labels[self._next_id] = found.labels[index], int(found.class_ids[index])
            self._next_id += 1
        self.why_empty = found.why_empty if self._next_id == 1 else None
        return self.session.add_masks(frame_index=shown.frame_index, masks=masks) if masks else shown

    def _new(self, found: ImageResult, shown: FrameMasks) -> list[int]:
        """Which masks are new objects, the best first."""
        options = self.generator.options
        free = len(found) if not options.max_objects else max(0, options.max_objects - len(shown))
        covered = shown.masks.any(dim=0).cpu().numpy() if len(shown) else np.zeros(found.size, dtype=bool)
        areas = found.areas
        wanted = []
        for index in np.argsort(-found.quality, kind="stable"):
            if len(wanted) == free:
                break
            if areas[index] < max(options.min_area, 1):
                continue
            mask = found.masks[int(index)]
            if (mask & covered).sum() < options.track_iou * areas[index]:
                wanted.append(int(index))
        return wanted

    def _result(self, row: int, pixels: Tensor, shown: FrameMasks) -> VideoFrameResult:
        result = frame_result(self.session, shown)
        time_of = getattr(self._source, "time", None)
        named = [self._labels[key] for key in result.object_ids]
        return replace(
            result,
            frame=row * self.span.stride,
            time=float("nan") if time_of is None else time_of(row),
            image=pixels,
            source=getattr(self._source, "path", None) and str(self._source.path),
            labels=tuple(label for label, _ in named),
            class_ids=np.array([number for _, number in named], dtype=np.int64),
        )

    def _note(self, object_ids, is_visible) -> None:
        for key, visible in zip(object_ids, is_visible, strict=True):
            self._unseen[key] = 0 if visible else self._unseen.get(key, 0) + 1

    def _give_up(self) -> None:
        """Forgets objects that have not been seen for long."""
        longest = self.generator.options.forget_after * self.generator.options.detect_every
        for key in [key for key, count in self._unseen.items() if count >= longest]:
            del self._unseen[key], self._labels[key]
            self.session.remove_object(key)
