"""`Sam2InferenceSession`: what a user holds of a video or a stream.

```python
session = Sam2InferenceSession(model, processor, video=frames)
session.add_prompt(frame_index=0, object_id=1, points=[[210, 350]])
for frame in session.propagate():
    frame.object_ids, frame.masks
```
"""

import operator
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from sam2_hf.modeling.model import Sam2Model
from sam2_hf.processing.processor import Sam2Processor
from sam2_hf.processing.prompts import ObjectPrompt
from sam2_hf.processing.requests import prompt_of_object
from sam2_hf.processing.video import FrameSource
from sam2_hf.tracking.frames import FrameStore
from sam2_hf.tracking.memory_bank import has_forgotten_near
from sam2_hf.tracking.memory_limits import MemoryLimits
from sam2_hf.tracking.passes import Visit, check_pass, checked_start, visits
from sam2_hf.tracking.policy import TrackingPolicy
from sam2_hf.tracking.prompts import in_model_pixels, plain_id
from sam2_hf.tracking.records import Direction, FrameMasks, FrameResult, ObjectTrack
from sam2_hf.tracking.saving import check_facts, load_state, save_state, saved_video, session_facts
from sam2_hf.tracking.shown import frame_masks
from sam2_hf.tracking.tracker import Tracker


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
        self.tracks: dict[Hashable, ObjectTrack] = {}
        self.frames = FrameStore(model, processor, video, self.policy)
        self._resets = 0
        self._limits = MemoryLimits.of(model.config, self.policy)
        self._tracker = Tracker(model=model, frames=self.frames, policy=self.policy, limits=self._limits)

    def __repr__(self) -> str:
        what = self.video_path or ("a stream" if self.source is None else "a video")
        size = "" if self.size is None else f" of {self.size[0]} x {self.size[1]}"
        return f"Sam2InferenceSession({what}, {self.num_frames} frames{size}, objects {list(self.object_ids)})"

    # What a user looks at

    @property
    def num_frames(self) -> int:
        """Frames of the video, or those appended so far."""
        return len(self.frames)

    @property
    def source(self) -> FrameSource | None:
        """Frames of a whole video by number, None for a stream."""
        return self.frames.source

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of every frame, None before a stream's first one."""
        return self.frames.size

    @property
    def video_path(self) -> str | None:
        """File or folder that the video is read from, None for anything else."""
        return self.frames.path

    @property
    def object_ids(self) -> tuple[Hashable, ...]:
        """Objects in order of first appearance; rows of every result follow it."""
        return tuple(self.tracks)

    @torch.inference_mode()
    def shown(self, frame_index: int) -> FrameMasks:
        """What is known of all objects on a frame; nothing is tracked."""
        frame = operator.index(frame_index)
        return self._frame_masks(frame, {key: track.shown(frame) for key, track in self.tracks.items()})

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
        frame, given = operator.index(frame_index), prompt_of_object(points, labels, box, mask)
        how = {"clear_old_points": clear_old_points, "use_previous_mask": use_previous_mask}
        track = self.give(frame, object_id, given, normalized=normalized, **how)
        is_weakened = has_forgotten_near(track, frame, self._limits)
        return replace(self.shown(frame), is_weakened=is_weakened)

    @torch.inference_mode()
    def add_masks(self, *, frame_index: int, masks: Mapping[Hashable, object]) -> FrameMasks:
        """Says of several objects where they are on a frame; as `add_prompt` with a mask for each, in one answer.

        Args:
            masks: by object id, each (height, width) of 0 and 1.

        Raises:
            PromptError: a mask that cannot be meant; the objects before it were prompted.
        """
        frame = operator.index(frame_index)
        for object_id, mask in masks.items():
            self.give(frame, object_id, ObjectPrompt(mask=mask))
        return self.shown(frame)

    @torch.inference_mode()
    def clear_prompts(self, *, frame_index: int, object_id: Hashable) -> FrameMasks:
        """Takes back what was said of an object on a frame, and returns what is shown there now."""
        track, frame = self._track(object_id), operator.index(frame_index)
        self.frames.require(frame)
        self._tracker.unprompt(track, frame)
        return self.shown(frame)

    def remove_object(self, object_id: Hashable) -> None:
        """Forgets an object; the others are untouched.

        Raises:
            KeyError: there is no such object.
        """
        del self.tracks[self._track(object_id).object_id]

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
        passed = self.follow(direction, start_frame=start_frame, max_frames=max_frames)
        return (self._frame_masks(frame, results) for frame, results in passed)

    def follow(
        self, direction: str = "forward", *, start_frame: int | None = None, max_frames: int | None = None
    ) -> Iterator[tuple[int, dict[Hashable, FrameResult]]]:
        """As `propagate`, without masks at the video's size: frame numbers, and low-resolution results by object."""
        start_frame, max_frames = (None if n is None else operator.index(n) for n in (start_frame, max_frames))
        check_pass(direction, start_frame, max_frames, self.frames)
        self.commit()
        start = checked_start(self.tracks.values(), direction, start_frame, self.policy)
        return self._pass(visits(direction, start, max_frames, self.frames, self._limits), self._resets)

    def _pass(self, visited: Iterable[Visit], resets: int) -> Iterator[tuple[int, dict[Hashable, FrameResult]]]:
        for visit in visited:
            if self._resets != resets or not self.tracks:
                raise RuntimeError("the session was reset while a pass was running; start a new pass")
            yield visit.frame, self.step(visit.frame, visit.direction, visit.protected)
            self.frames.release(before=visit.frame - 1)

    @torch.inference_mode()
    def step(
        self, frame: int, direction: Direction = Direction.FORWARD, protected: Iterable[int] = ()
    ) -> dict[Hashable, FrameResult]:
        """Follows all objects to one frame, as `propagate` does frame by frame, and returns what is known there.

        Args:
            protected: tracked frames that a later part of the same pass will look at.
        """
        self._tracker.commit(self.tracks.values())
        return self._tracker.step(self.tracks, frame, direction, protected)

    @torch.inference_mode()
    def commit(self) -> None:
        """Writes what was said of objects to their memory, as every pass does when it begins."""
        self._tracker.commit(self.tracks.values())

    @torch.inference_mode()
    def append_frame(self, image) -> FrameMasks:
        """Takes the next frame of a stream and follows the objects known so far to it.

        Args:
            image: anything that the processor reads.
        """
        if not self.frames.takes_frames:
            raise ValueError("this session has a video of its own; frames are appended to sessions without one")
        self.commit()  # with features of the frames that the prompts were given on
        frame = self.frames.take(image)
        self.frames.release(before=frame - 1)
        is_known = any(track.memories for track in self.tracks.values())
        return self._frame_masks(frame, self.step(frame) if is_known else {})

    # Disk

    def save(self, path: str | Path) -> Path:
        """Writes the session's state, without the video, to a safetensors file; an existing one is replaced."""
        path = Path(path)
        if self.source is None:
            self.commit()  # the frames that drafts were given on do not outlive a stream
        save_state(path, self.tracks, self.policy, session_facts(self))
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
        video = saved_video(Path(path), facts) if video is None else video
        session = cls(model, processor, video, policy=policy)
        check_facts(Path(path), facts, session_facts(session))
        session.tracks.update({key: session._tracker.adopt(track) for key, track in tracks.items()})
        if session.source is None:
            session.frames.go_on(facts["num_frames"], facts["size"])
        return session

    # Steps

    @torch.inference_mode()
    def give(
        self,
        frame: int,
        object_id: Hashable,
        given: ObjectPrompt,
        *,
        normalized: bool = False,
        clear_old_points: bool = True,
        use_previous_mask: bool = True,
    ) -> ObjectTrack:
        """As `add_prompt`, without the answer; nothing changes if the prompt cannot be meant."""
        self.frames.require(frame)
        object_id = plain_id(object_id)
        track = self.tracks.get(object_id) or ObjectTrack(object_id)
        kept = None if clear_old_points else track.prompts.get(frame)
        size, side = self.frames.known_size, self.processor.target_size
        prompt = in_model_pixels(given, size, side, kept, normalized)
        self._tracker.prompt(track, frame, prompt, use_previous_mask)
        self.tracks[object_id] = track
        return track

    def _track(self, object_id: Hashable) -> ObjectTrack:
        if (object_id := plain_id(object_id)) not in self.tracks:
            raise KeyError(f"there is no object {object_id!r}; known are {list(self.tracks)}")
        return self.tracks[object_id]

    @torch.inference_mode()
    def _frame_masks(self, frame: int, results: Mapping[Hashable, FrameResult | None]) -> FrameMasks:
        is_prompted = [frame in self.tracks[key].prompts for key in results]
        return frame_masks(frame, results, is_prompted, self.model, self.frames.known_size, self.policy.non_overlap)
