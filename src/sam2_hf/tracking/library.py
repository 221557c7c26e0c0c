"""The names of transformers' own session API, so that its tutorials run: a thin face over `Sam2InferenceSession`.

```python
session = processor.init_video_session(video=frames)
processor.add_inputs_to_inference_session(session, frame_idx=0, obj_ids=1, input_points=[[[[210, 350]]]])
model(inference_session=session, frame_idx=0)
for output in model.propagate_in_video_iterator(session):
    output.frame_idx, output.pred_masks
```

There the session does not know its model; here it is bound to the first one that is called with it, and prompts wait
until then.
"""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from transformers.utils import ModelOutput, logging

from sam2_hf.errors import PromptError
from sam2_hf.processing.prompts import ObjectPrompt, as_tensor
from sam2_hf.processing.requests import prompt_of_object
from sam2_hf.processing.video import frames_from, stream_from
from sam2_hf.tracking.policy import TrackingPolicy
from sam2_hf.tracking.records import Direction, FrameResult
from sam2_hf.tracking.session import Sam2InferenceSession
from sam2_hf.tracking.tracker import absent


@dataclass
class Sam2VideoSegmentationOutput(ModelOutput):
    """Masks of all objects on one frame, at low resolution.

    Attributes:
        object_ids: the rows of everything below.
        pred_masks: (objects, 1, height, width) logits at stride 4, for `post_process_masks([pred_masks], ...)`.
        object_score_logits: (objects, 1), above 0 where the object is visible.
        frame_idx: the frame's number.
    """

    object_ids: list | None = None
    pred_masks: torch.Tensor | None = None
    object_score_logits: torch.Tensor | None = None
    frame_idx: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    """A prompt that was given before the model was called."""

    frame: int
    object_id: Hashable
    given: ObjectPrompt
    clear_old_points: bool


class LibrarySession:
    """What `processor.init_video_session` makes.

    Args:
        processor: of the model that will be called.
        video: as for `Sam2InferenceSession`; None for a stream.
        inference_device: checked against the model, beside which a session lives.
        inference_state_device, video_storage_device: "cpu" beside another inference device keeps records, or frames,
            there, as `TrackingPolicy(offload=)` does.
        processing_device, dtype, max_vision_features_cache_size: taken for the library's sake; frames are prepared when
            they are needed, in the model's dtype, and the last two encodings are kept.
        policy: ours, instead of the two placements.
    """

    def __init__(
        self,
        processor,
        video=None,
        *,
        inference_device=None,
        inference_state_device=None,
        processing_device=None,
        video_storage_device=None,
        max_vision_features_cache_size: int | None = None,
        dtype: torch.dtype | str | None = None,
        policy: TrackingPolicy | None = None,
    ):
        self._processor = processor
        self._video = video if video is None or stream_from(video) is not None else frames_from(video)
        self._device = None if inference_device is None else torch.device(inference_device)
        offload = _offload(self._device, inference_state_device, video_storage_device)
        self._policy = TrackingPolicy(offload=offload) if policy is None else policy
        self._session: Sam2InferenceSession | None = None
        self._waiting: list[_Waiting] = []
        self._early_frames: list[Tensor] = []
        self.original_size: tuple[int, int] | None = None

    # What user code reads

    @property
    def session(self) -> Sam2InferenceSession:
        """Ours, once a model was called.

        Raises:
            ValueError: no model was called yet.
        """
        if self._session is None:
            raise ValueError("the session knows no model yet; call model(inference_session=session, ...) first")
        return self._session

    @property
    def num_frames(self) -> int | None:
        """Frames of the video or those added so far, None before the first one of a stream."""
        return len(self.processed_frames) or None

    @property
    def video_height(self) -> int | None:
        """Height of the frames, None before the first one."""
        return None if self._size is None else self._size[0]

    @property
    def video_width(self) -> int | None:
        """Width of the frames, None before the first one."""
        return None if self._size is None else self._size[1]

    @property
    def obj_ids(self) -> list[Hashable]:
        """Objects in order of first appearance."""
        known = [] if self._session is None else self._session.object_ids
        return list(dict.fromkeys([*known, *(prompt.object_id for prompt in self._waiting)]))

    @property
    def inference_device(self) -> torch.device:
        """The device of the model."""
        return self._device or torch.device("cpu") if self._session is None else self._session.model.execution_device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the model."""
        return torch.float32 if self._session is None else self._session.model.dtype

    @property
    def processed_frames(self) -> "ProcessedFrames":
        """Frames as the model takes them, by number, prepared when they are asked for."""
        return ProcessedFrames(self)

    def get_obj_num(self) -> int:
        """Number of objects."""
        return len(self.obj_ids)

    def obj_id_to_idx(self, obj_id: Hashable) -> int:
        """The row of an object in every result.

        Raises:
            KeyError: there is no such object; the library would make one without a prompt.
        """
        if obj_id not in self.obj_ids:
            raise KeyError(f"there is no object {obj_id!r}; known are {self.obj_ids}")
        return self.obj_ids.index(obj_id)

    def obj_idx_to_id(self, obj_idx: int) -> Hashable:
        """The object of a row."""
        return self.obj_ids[obj_idx]

    def get_frame(self, frame_idx: int) -> Tensor:
        """A frame as the model takes it, (3, height, width) on its device."""
        return self.processed_frames[frame_idx].to(self.inference_device)

    # What user code does

    def add_new_frame(self, pixel_values: Tensor, frame_idx: int | None = None) -> int:
        """Adds a preprocessed frame (3, height, width) or (1, 3, height, width) at the end and returns its number."""
        pixels, number = pixel_values.reshape(1, *pixel_values.shape[-3:]), len(self.processed_frames)
        if frame_idx not in (None, number):
            raise ValueError(f"`frame_idx` is {frame_idx}, but frames are added in order: the next is {number}")
        if self._session is None:
            self._early_frames.append(pixels)
            return number
        return self._session.frames.append(pixels)

    def reset_inference_session(self) -> None:
        """Forgets all objects and keeps the frames."""
        self._waiting.clear()
        if self._session is not None:
            self._session.reset()

    reset_tracking_data = reset_inference_session

    def add_inputs(self, frame_idx: int, obj_ids, points, labels, boxes, masks, clear_old_inputs: bool) -> None:
        """Keeps prompts until the model is called: `[image][object]...`, one entry per object id."""
        ids = list(obj_ids) if isinstance(obj_ids, (list, tuple)) else [obj_ids]
        given = {"points": _per_object(points, 4), "labels": _per_object(labels, 3), "box": _per_object(boxes, 3)}
        given["mask"] = None if masks is None else _masks_per_object(masks, len(ids))
        for name, entries in given.items():
            if entries is not None and len(entries) != len(ids):
                raise PromptError(
                    f"`{name}` has {len(entries)} objects but `obj_ids` has {len(ids)}; give one per object"
                )
        for row, object_id in enumerate(ids):
            prompt = prompt_of_object(**{name: entries[row] for name, entries in given.items() if entries is not None})
            self._waiting.append(
                _Waiting(frame=frame_idx, object_id=object_id, given=prompt, clear_old_points=clear_old_inputs)
            )

    # What the model calls

    def answer(self, model, frame_idx: int | None, frame: Tensor | None, reverse: bool) -> Sam2VideoSegmentationOutput:
        """What `model(inference_session=...)` returns: prompts of the frame answered, or the frame tracked."""
        session = self._bound(model)
        if frame is not None:
            session.commit()
            frame_idx = self.add_new_frame(frame)
        if frame_idx is None:
            raise ValueError("pass `frame_idx`, or `frame` for a stream")
        if self._answer_waiting(frame_idx):
            return self._output(frame_idx, {key: track.shown(frame_idx) for key, track in session.tracks.items()})
        return self._output(frame_idx, session.step(frame_idx, Direction.BACKWARD if reverse else Direction.FORWARD))

    def passes(
        self, model, start: int | None, length: int | None, reverse: bool, bar: bool
    ) -> Iterator[Sam2VideoSegmentationOutput]:
        """What `model.propagate_in_video_iterator` yields; `length` frames follow the start, as the library counts."""
        session = self._bound(model)
        for frame in sorted({prompt.frame for prompt in self._waiting}):
            self._answer_waiting(frame)
        direction = "backward" if reverse else "forward"
        limit = None if length is None else length + 1
        passed = session.follow(direction, start_frame=start, max_frames=limit)
        for frame, results in logging.tqdm(passed, disable=not bar):
            yield self._output(frame, results)

    @property
    def _size(self) -> tuple[int, int] | None:
        return getattr(self._video, "size", None) if self._session is None else self._session.size

    def _bound(self, model) -> Sam2InferenceSession:
        """Our session, made with the first model that is called."""
        if self._session is None:
            if self._device is not None and self._device.type != model.execution_device.type:
                raise ValueError(
                    f"the session was made for {self._device}, but the model is on {model.execution_device}; "
                    "give both the same device, or leave out `inference_device`"
                )
            self._session = Sam2InferenceSession(model, self._processor, self._video, policy=self._policy)
            for pixels in self._early_frames:
                self._session.frames.append(pixels)
        elif model is not self._session.model:
            raise ValueError("this session belongs to another model; make a new one with processor.init_video_session")
        return self._session

    def _answer_waiting(self, frame: int) -> bool:
        """Answers the prompts that wait for a frame; whether there were any."""
        waiting = [prompt for prompt in self._waiting if prompt.frame == frame]
        frames, side = self.session.frames, self.session.processor.target_size
        for prompt in waiting:
            if frames.size is None:  # a stream of preprocessed frames: prompts are in pixels of `original_size`
                frames.size = self.original_size or (side, side)
            self._waiting.remove(prompt)  # also if it turns out to be wrong
            self.session.give(frame, prompt.object_id, prompt.given, clear_old_points=prompt.clear_old_points)
        return bool(waiting)

    def _output(self, frame: int, results: Mapping[Hashable, FrameResult | None]) -> Sam2VideoSegmentationOutput:
        model = self.session.model
        device, low_res = model.execution_device, model.config.low_res_mask_size
        nothing = absent(low_res, device)
        rows = [nothing if result is None else result for result in results.values()]
        if not rows:
            return Sam2VideoSegmentationOutput(
                object_ids=[], pred_masks=torch.zeros(0, 1, low_res, low_res, device=device), frame_idx=frame
            )
        found = (nothing.mask_logits if row.mask_logits is None else row.mask_logits for row in rows)
        logits = [one.to(device) for one in found if one is not None]
        return Sam2VideoSegmentationOutput(
            object_ids=list(results),
            pred_masks=torch.stack(logits).unsqueeze(1),
            object_score_logits=torch.stack([row.object_score.to(device) for row in rows]).unsqueeze(1),
            frame_idx=frame,
        )


class ProcessedFrames(Mapping):
    """Frames of a `LibrarySession` as the model takes them, (3, height, width), by number."""

    def __init__(self, owner: LibrarySession):
        self._owner = owner

    def __len__(self) -> int:
        session, video = self._owner._session, self._owner._video
        if session is not None:
            return session.num_frames
        return len(self._owner._early_frames) + (len(video) if hasattr(video, "size") else 0)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))

    def __getitem__(self, frame: int) -> Tensor:
        owner = self._owner
        if not 0 <= frame < len(self):
            raise KeyError(frame)
        if owner._session is not None:
            return owner._session.frames.pixels(frame)[0]
        if owner._early_frames:
            return owner._early_frames[frame][0]
        return owner._processor.image_processor(owner._video[frame], return_tensors="pt")["pixel_values"][0]


def _offload(device: torch.device | None, state, video) -> Literal["none", "state", "video", "all"]:
    """Where the library's placements keep records and frames, as our policy says it."""
    here = "cpu" if device is None else device.type
    has_moved, has_moved_video = (place is not None and torch.device(place).type != here for place in (state, video))
    if (has_moved or has_moved_video) and here == "cpu":
        raise ValueError("records and frames are kept beside the model or on the CPU; leave out the storage devices")
    if has_moved and has_moved_video:
        return "all"
    return "state" if has_moved else "video" if has_moved_video else "none"


def _per_object(value, depth: int):
    """The objects of the one picture that a frame is: `[image][object]...` without the first level."""
    if value is None:
        return None
    entries = value[0]
    probe, levels = entries, 1
    while isinstance(probe, (list, tuple)) and probe:
        probe, levels = probe[0], levels + 1
    if isinstance(value, (list, tuple)) and levels != depth:
        raise PromptError(f"prompts of a session need {depth} levels, [image][object]..., got {levels}")
    return list(entries)


def _masks_per_object(masks, count: int) -> list[Tensor]:
    """Masks (height, width), one per object; axes of one entry around them may be there."""
    entries = list(masks) if isinstance(masks, (list, tuple)) else [masks]
    tensors = [as_tensor(entry) for entry in entries]
    if len(tensors) == 1 and tensors[0].dim() > 2 and tensors[0].shape[-3] == count:
        tensors = list(tensors[0].reshape(-1, *tensors[0].shape[-2:]))
    flat = [tensor.reshape(-1, *tensor.shape[-2:]) for tensor in tensors]
    wrong = next((tensor for tensor, masks in zip(tensors, flat, strict=True) if len(masks) != 1), None)
    if wrong is not None:
        raise PromptError(f"`input_masks` is (height, width) per object, got {tuple(wrong.shape)} for {count} objects")
    return [masks[0] for masks in flat]
