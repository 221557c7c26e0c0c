"""`Sam2InferenceSession`: what a user holds of a video or a stream.

```python
session = Sam2InferenceSession(model, processor, video=frames)
session.add_prompt(frame_index=0, object_id=1, points=[[210, 350]])
for frame in session.propagate():
    frame.object_ids, frame.masks
```
"""

import operator
import warnings
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from sam2_hf.errors import PromptError, SourceError
from sam2_hf.modeling.model import Sam2Model
from sam2_hf.processing.processor import Sam2Processor
from sam2_hf.processing.video import FrameSource, frames_from, stream_from
from sam2_hf.tracking.frames import FrameStore
from sam2_hf.tracking.memory_bank import has_forgotten_near
from sam2_hf.tracking.policy import TrackingPolicy
from sam2_hf.tracking.prompts import GivenPrompt
from sam2_hf.tracking.records import Direction, FrameMasks, FrameResult, ObjectTrack
from sam2_hf.tracking.saving import load_state, save_state
from sam2_hf.tracking.shown import frame_masks
from sam2_hf.tracking.tracker import Tracker

BOTH_WAYS = "both"
LOOK_AHEAD = 64  # frames of an iterator or camera that a prompt may lie ahead of what was taken
DIRECTIONS = {"forward": Direction.FORWARD, "backward": Direction.BACKWARD}


class Sam2InferenceSession:
    """Objects followed through a video, a folder of pictures, an iterator or a live stream.

    Args:
        model: with memory weights; an image-only checkpoint is refused here.
        processor: of the same size.
        video: path, folder, list / array / tensor of frames, iterator, camera index, or None for a stream of
            `append_frame`.
        policy: how to track; see `TrackingPolicy`.

    Raises:
        MissingWeightsError: the checkpoint cannot follow a video.
        SourceError: the video cannot be read.
    """

    def __init__(self, model: Sam2Model, processor: Sam2Processor, video=None, *, policy: TrackingPolicy | None = None):
        model.require_memory()
        self.model, self.processor = model, processor
        self.policy = TrackingPolicy() if policy is None else policy
        path = getattr(video, "path", video)
        self.video_path = str(path) if isinstance(path, (str, Path)) and "://" not in str(path) else None
        self._incoming = stream_from(video)  # frames that come by themselves
        is_stream = video is None or self._incoming is not None
        self._takes_frames = video is None
        self.source: FrameSource | None = None if is_stream else frames_from(video)
        self.size: tuple[int, int] | None = None if self.source is None else self.source.size
        self.tracks: dict[Hashable, ObjectTrack] = {}
        self._resets = 0
        self._window = self.policy.keep == "window" or (self.policy.keep == "auto" and is_stream)
        self.frames = FrameStore(
            model,
            self._preprocess,
            self.source,
            keep_pixels=not self._window,
            pixels_on_cpu=self.policy.offload in ("video", "all"),
        )
        self._tracker = Tracker(model=model, frames=self.frames, policy=self.policy, window=self._window)

    # What a user looks at

    @property
    def num_frames(self) -> int:
        """Frames of the video, or those appended so far."""
        return len(self.frames)

    @property
    def object_ids(self) -> tuple[Hashable, ...]:
        """Objects in order of first appearance; rows of every result follow it."""
        return tuple(self.tracks)

    # Prompts

    @torch.inference_mode()
    def add_prompt(
        self,
        *,
        frame_index: int,
        object_id: Hashable,
        points=None,
        labels=None,
        box=None,
        mask=None,
        clear_old_points: bool = True,
        normalized: bool = False,
        use_previous_mask: bool = True,
    ) -> FrameMasks:
        """Says where an object is on a frame, or corrects it there. Nothing is remembered before the next pass.

        Args:
            points: [[x, y], ...] in pixels of the original frame.
            labels: 1 inside, 0 outside; all inside if not given.
            box: [x0, y0, x1, y1] in pixels of the original frame.
            mask: (height, width) of 0 and 1, of any size; an empty one says that the object is not on this frame.
            clear_old_points: replace the points given on this frame before; False: add to them.
            normalized: points and box are fractions of width and height.
            use_previous_mask: what is shown on this frame now helps to draw the new mask.

        Returns:
            Masks of all objects on this frame.

        Raises:
            PromptError: nothing was changed.
        """
        given = GivenPrompt(points=points, labels=labels, box=box, mask=mask, normalized=normalized)
        track = self._give(operator.index(frame_index), object_id, given, clear_old_points, use_previous_mask)
        shown = self._shown(frame_index)
        is_weakened = has_forgotten_near(track, frame_index, self.policy.recent_stride)
        if is_weakened and isinstance(shown, FrameMasks):  # the library's output class has no room for it
            return replace(shown, is_weakened=True)
        return shown

    @torch.inference_mode()
    def add_masks(self, *, frame_index: int, masks: Mapping[Hashable, object]) -> FrameMasks:
        """Says of several objects where they are on a frame; as `add_prompt` with a mask for each, in one answer.

        Args:
            masks: by object id, each (height, width) of 0 and 1.

        Raises:
            PromptError: a mask that cannot be meant; the objects before it were prompted.
        """
        for object_id, mask in masks.items():
            self._give(operator.index(frame_index), object_id, GivenPrompt(mask=mask), True, True)
        return self._shown(frame_index)

    @torch.inference_mode()
    def clear_prompts(self, *, frame_index: int, object_id: Hashable) -> FrameMasks:
        """Takes back what was said of an object on a frame, and returns what is shown there now."""
        track = self._track(object_id)
        self._check_frame(frame_index)
        track.prompts.pop(frame_index, None)
        track.drafts.pop(frame_index, None)
        memory = track.memories.get(frame_index)
        if memory is not None and memory.prompted:
            self._tracker.unprompt(track, frame_index)
        return self._shown(frame_index)

    def remove_object(self, object_id: Hashable) -> None:
        """Forgets an object; the others are untouched.

        Raises:
            KeyError: there is no such object.
        """
        self._track(object_id)
        del self.tracks[object_id]

    def reset(self) -> None:
        """Forgets all objects and keeps the frames. A running pass ends with an error."""
        self.tracks.clear()
        self._resets += 1

    # Passes

    def propagate(
        self,
        direction: Literal["forward", "backward", "both"] = "forward",
        *,
        start_frame: int | None = None,
        max_frames: int | None = None,
    ) -> Iterator[FrameMasks]:
        """Follows all objects through the video, frame by frame.

        Objects may be added, corrected or removed while a pass is running; additions join at its next frame.

        Args:
            direction: "both" goes forward to the end and then back from the frame before the start; to reach the
                earlier frames of an object that was prompted late, start there.
            start_frame: default: the first prompted frame, backward the last.
            max_frames: at most so many frames in each direction, the start frame included.

        Raises:
            PromptError: no object has a prompt.
            ValueError: a direction or frame that does not exist.
        """
        if direction not in (*DIRECTIONS, BOTH_WAYS):
            raise ValueError(f"`direction` must be 'forward', 'backward' or 'both', got {direction!r}")
        if max_frames is not None and max_frames < 1:
            raise ValueError(f"`max_frames` is {max_frames}, but it must be at least 1")
        if start_frame is not None:
            self._check_frame(start_frame)
        if direction != "forward" and self.source is None and self._window:
            raise ValueError('a bounded stream cannot be followed backwards; use TrackingPolicy(keep="all")')
        self._commit()
        self._check_prompted()
        return self._passes(direction, self._start(direction, start_frame), max_frames, self._resets)

    def _passes(self, direction: str, start: int, max_frames: int | None, resets: int) -> Iterator[FrameMasks]:
        length = self.num_frames if max_frames is None else max_frames
        if direction != "backward":
            protected = self._read_on_the_way_back(start) if direction == BOTH_WAYS else ()
            yield from self._pass(self._forward(start, max_frames), Direction.FORWARD, resets, protected)
        if direction != "forward":
            first = start - 1 if direction == BOTH_WAYS else start
            yield from self._pass(range(first, max(start - length, -1), -1), Direction.BACKWARD, resets)

    def _forward(self, start: int, max_frames: int | None) -> Iterator[int]:
        """Frame numbers to the end; of a stream, as frames come."""
        for frame in count(start) if max_frames is None else range(start, start + max_frames):
            if not self._reach(frame):
                return
            yield frame

    def _release(self, frame: int) -> None:
        """Lets go of a stream's pictures that a pass has left behind."""
        if self._window:
            self.frames.release(frame - 1)

    def _reach(self, frame: int) -> bool:
        """Whether a frame is there, after taking incoming frames up to it."""
        while frame >= self.num_frames and self._incoming is not None:
            try:
                image = next(self._incoming)
            except StopIteration:
                self._incoming = None
                break
            self._append(image)
        return frame < self.num_frames

    def _append(self, image) -> int:
        pixel_values, size = self._read_frame(image)
        if self.size is not None and size != self.size:
            raise SourceError(f"the frame is (height, width) {size}, the frames before it are {self.size}")
        self.size = size
        return self.frames.append(pixel_values)

    def _pass(
        self, span: Iterable[int], direction: Direction, resets: int, protected: Iterable[int] = ()
    ) -> Iterator[FrameMasks]:
        for frame in span:
            if self._resets != resets or not self.tracks:
                raise RuntimeError("the session was reset while a pass was running; start a new pass")
            yield self._step(frame, direction, protected)
            self._release(frame)

    @torch.inference_mode()
    def _step(self, frame: int, direction: Direction, protected=()) -> FrameMasks:
        self._tracker.commit(self.tracks.values())
        return self._frame_masks(frame, self._tracker.step(self.tracks, frame, direction, protected))

    @torch.inference_mode()
    def append_frame(self, image) -> FrameMasks:
        """Takes the next frame of a stream and follows the objects known so far to it.

        Args:
            image: anything that the processor reads.
        """
        if not self._takes_frames:
            raise ValueError("this session has a video of its own; frames are appended to sessions without one")
        self._commit()  # with features of the frames that the prompts were given on
        frame = self._append(image)
        self._release(frame)
        if any(track.memories for track in self.tracks.values()):
            return self._step(frame, Direction.FORWARD)
        return self._frame_masks(frame, {})

    # Disk

    def save(self, path: str | Path) -> Path:
        """Writes the session's state, without the video, to a safetensors file; an existing one is replaced."""
        path = Path(path)
        if self.source is None:
            self._commit()  # the frames that drafts were given on do not outlive a stream
        facts = {"video": self.video_path, "size": self.size, "num_frames": self.num_frames}
        facts["image_size"] = self.model.config.image_size
        save_state(path, self.tracks, self.policy, facts)
        return path

    @classmethod
    def load(cls, path: str | Path, model: Sam2Model, processor: Sam2Processor, video=None) -> "Sam2InferenceSession":
        """Goes on where `save` left off: resumed tracking equals uninterrupted tracking.

        Args:
            video: as for a new session; default: the path that the saved session had, if it had one.

        Raises:
            SourceError: the file is no session, or the video is not the one it was saved with.
        """
        tracks, policy, facts = load_state(Path(path))
        video = facts["video"] if video is None else video
        session = cls(model, processor, video, policy=policy)
        saved_size = None if facts["size"] is None else tuple(facts["size"])
        if facts["image_size"] != model.config.image_size:
            raise SourceError(
                f"{path}: saved with image_size {facts['image_size']}, the model has {model.config.image_size}"
            )
        if session.source is not None and (session.size, session.num_frames) != (saved_size, facts["num_frames"]):
            raise SourceError(
                f"{path}: saved with {facts['num_frames']} frames of (height, width) {saved_size}, the video has "
                f"{session.num_frames} of {session.size}; pass the video it was saved with"
            )
        session.tracks.update({key: session._tracker.adopt(track) for key, track in tracks.items()})
        if session.source is None:  # a stream goes on counting
            session.size = saved_size
            session.frames.skip(facts["num_frames"])
        return session

    # Steps

    def _give(
        self, frame: int, object_id: Hashable, given: GivenPrompt, clear_old_points: bool, use_previous_mask: bool
    ) -> ObjectTrack:
        """Prompts an object; nothing changes if the prompt cannot be meant."""
        self._check_frame(frame)
        object_id = object_id.item() if isinstance(object_id, np.generic) else object_id
        known = self.tracks.get(object_id)
        old = None if known is None else known.prompts.get(frame)
        prompt = given.in_model_pixels(self.size, self.model.config.image_size, None if clear_old_points else old)
        if given.box is not None and not clear_old_points and old is not None:
            raise PromptError("a box replaces earlier points of its frame; pass it with clear_old_points=True")
        track = ObjectTrack(object_id) if known is None else known
        self._tracker.prompt(track, frame, prompt, use_previous_mask)
        self.tracks[object_id] = track
        return track

    def _shown(self, frame: int) -> FrameMasks:
        """What is known of all objects on a frame."""
        return self._frame_masks(frame, {key: track.shown(frame) for key, track in self.tracks.items()})

    @torch.inference_mode()
    def _commit(self) -> None:
        self._tracker.commit(self.tracks.values())

    def _start(self, direction: str, start_frame: int | None) -> int:
        if start_frame is not None:
            return start_frame
        prompted = [frame for track in self.tracks.values() for frame in track.prompted]
        from_the_end = direction == "backward" and self.policy.backward_start == "last"
        return max(prompted) if from_the_end else min(prompted)

    def _read_on_the_way_back(self, start: int) -> range:
        """Tracked frames that the backward part of a pass both ways will look at."""
        return range(start, start + max(5 * self.policy.recent_stride + 1, 16))

    def _check_prompted(self) -> None:
        without = [key for key, track in self.tracks.items() if not track.prompted]
        if len(without) == len(self.tracks):
            raise PromptError("no object has a prompt; add one on any frame before propagating")
        if without and self.policy.require_all_prompted:
            raise PromptError(f"object {without[0]!r} has no prompt; add one on any frame, or remove it")
        if without:
            warnings.warn(f"objects without a prompt are left out: {without}", UserWarning, stacklevel=3)

    def _check_frame(self, frame: int) -> None:
        if frame < 0 or frame >= self.num_frames + LOOK_AHEAD or not self._reach(frame):
            there = f"0..{self.num_frames - 1}" if self.num_frames else "it has no frame yet"
            raise PromptError(f"frame {frame} is not in the video ({there})")

    def _track(self, object_id: Hashable) -> ObjectTrack:
        if object_id not in self.tracks:
            raise KeyError(f"there is no object {object_id!r}; known are {list(self.tracks)}")
        return self.tracks[object_id]

    def _preprocess(self, image) -> Tensor:
        return self._read_frame(image)[0]

    def _read_frame(self, image) -> tuple[Tensor, tuple[int, int]]:
        inputs = self.processor.image_processor(image, return_tensors="pt")
        return inputs["pixel_values"], tuple(inputs["original_sizes"][0].tolist())

    def _frame_masks(self, frame: int, results: dict[Hashable, FrameResult | None]) -> FrameMasks:
        is_prompted = [frame in self.tracks[key].prompts for key in results]
        return frame_masks(frame, results, is_prompted, self.model, self.size, self.policy.non_overlap)
