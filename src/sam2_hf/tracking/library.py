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

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.utils import ModelOutput, logging

from sam2_hf.errors import PromptError
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
    pred_masks: torch.FloatTensor | None = None
    object_score_logits: torch.FloatTensor | None = None
    frame_idx: int | None = None


class LibrarySession(Sam2InferenceSession):
    """A session that `processor.init_video_session` made; results have the library's form."""

    def __init__(self, processor, video=None, *, policy: TrackingPolicy | None = None, **placement):
        """Placement arguments of the library are taken: a session lives where its model lives."""
        source = video if video is None or stream_from(video) is not None else frames_from(video)
        self._unbound = {"processor": processor, "video": source, "policy": policy}
        self._waiting: list[dict] = []
        self.tracks = {}
        self.original_size: tuple[int, int] | None = None

    @property
    def video_height(self) -> int | None:
        """Height of the frames, None before the first one."""
        return None if self._frame_size is None else self._frame_size[0]

    @property
    def video_width(self) -> int | None:
        """Width of the frames, None before the first one."""
        return None if self._frame_size is None else self._frame_size[1]

    @property
    def obj_ids(self) -> list[Hashable]:
        """Objects in order of first appearance."""
        return list(dict.fromkeys([*self.tracks, *(prompt["object_id"] for prompt in self._waiting)]))

    def get_obj_num(self) -> int:
        """Number of objects."""
        return len(self.obj_ids)

    def reset_inference_session(self) -> None:
        """Forgets all objects and keeps the frames."""
        self._waiting.clear()
        self.reset() if self._is_bound else self.tracks.clear()

    reset_tracking_data = reset_inference_session

    def add_inputs(self, frame_idx: int, obj_ids, points, labels, boxes, masks, clear_old_inputs: bool) -> None:
        """Keeps prompts until the model is called: `[image][object]...`, one entry per object id."""
        ids = list(obj_ids) if isinstance(obj_ids, (list, tuple)) else [obj_ids]
        given = {"points": _per_object(points, 4), "labels": _per_object(labels, 3), "box": _per_object(boxes, 3)}
        given["mask"] = None if masks is None else list(masks) if len(ids) > 1 else [masks]
        for name, entries in given.items():
            if entries is not None and len(entries) != len(ids):
                raise PromptError(
                    f"`{name}` has {len(entries)} objects but `obj_ids` has {len(ids)}; give one per object"
                )
        for row, object_id in enumerate(ids):
            prompt = {name: entries[row] for name, entries in given.items() if entries is not None}
            self._waiting.append(
                {"frame_index": frame_idx, "object_id": object_id, "clear_old_points": clear_old_inputs, **prompt}
            )

    def answer(self, model, frame_idx: int | None, frame: Tensor | None, reverse: bool) -> Sam2VideoSegmentationOutput:
        """What `model(inference_session=...)` returns: prompts of the frame answered, or the frame tracked."""
        self._bind(model)
        if frame is not None:
            self._commit()
            pixels = frame if frame.dim() == 4 else frame.unsqueeze(0)
            frame_idx = self.frames.append(pixels)
        if frame_idx is None:
            raise ValueError("pass `frame_idx`, or `frame` for a stream")
        if self._answer_waiting(frame_idx):
            return self._frame_masks(frame_idx, {key: t.shown(frame_idx) for key, t in self.tracks.items()})
        return self._step(frame_idx, Direction.BACKWARD if reverse else Direction.FORWARD)

    def passes(
        self, model, start: int | None, length: int | None, reverse: bool, bar: bool
    ) -> Iterator[Sam2VideoSegmentationOutput]:
        """What `model.propagate_in_video_iterator` yields; `length` frames follow the start, as the library counts."""
        self._bind(model)
        for frame in sorted({prompt["frame_index"] for prompt in self._waiting}):
            self._answer_waiting(frame)
        direction = "backward" if reverse else "forward"
        limit = None if length is None else length + 1
        yield from logging.tqdm(self.propagate(direction, start_frame=start, max_frames=limit), disable=not bar)

    @property
    def _is_bound(self) -> bool:
        return not self._unbound

    @property
    def _frame_size(self) -> tuple[int, int] | None:
        if self._is_bound:
            return self.size
        return getattr(self._unbound["video"], "size", None)

    def _bind(self, model) -> None:
        if not self._is_bound:
            unbound, self._unbound = self._unbound, {}
            super().__init__(model, unbound["processor"], unbound["video"], policy=unbound["policy"])
        elif model is not self.model:
            raise ValueError("this session belongs to another model; make a new one with processor.init_video_session")

    def _answer_waiting(self, frame: int) -> bool:
        """Answers the prompts that wait for a frame; whether there were any."""
        waiting = [prompt for prompt in self._waiting if prompt["frame_index"] == frame]
        for prompt in waiting:
            if self.size is None:  # a stream of preprocessed frames: prompts are in pixels of `original_size`
                self.size = self.original_size or (self.model.config.image_size,) * 2
            self._waiting.remove(prompt)  # also if it turns out to be wrong
            self.add_prompt(**prompt)
        return bool(waiting)

    def _frame_masks(self, frame: int, results: dict[Hashable, FrameResult | None]) -> Sam2VideoSegmentationOutput:
        device, low_res = self.model.device, self.model.config.low_res_mask_size
        nothing = absent(low_res, device)
        rows = [nothing if result is None else result for result in results.values()]
        logits = [(nothing if row.mask_logits is None else row).mask_logits.to(device) for row in rows]
        return Sam2VideoSegmentationOutput(
            object_ids=list(results),
            pred_masks=torch.stack(logits).unsqueeze(1)
            if logits
            else torch.zeros(0, 1, low_res, low_res, device=device),
            object_score_logits=torch.stack([row.object_score.to(device) for row in rows]).unsqueeze(1)
            if rows
            else None,
            frame_idx=frame,
        )


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
