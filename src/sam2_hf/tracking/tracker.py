"""`Tracker`: prompts, commits and steps. The only caller of the model's verbs in tracking.

A prompt makes a *draft*: shown, not remembered. *Commit* turns drafts into memory, replacing the frame's record. A
*step* takes every object to one frame: prompted frames are answered from memory, the others are tracked, objects of
equal memory length together.
"""

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sam2_hf.modeling.model import Sam2Model
from sam2_hf.modeling.object_head import NO_OBJECT_LOGIT
from sam2_hf.modeling.outputs import ImageFeatures, ObjectPrediction, PromptBatch
from sam2_hf.modeling.prompt_groups import MASK_PROMPT_CLAMP
from sam2_hf.processing.masks import fill_holes
from sam2_hf.tracking.frames import FrameStore
from sam2_hf.tracking.memory_bank import (
    by_signature,
    forget_around,
    forget_behind,
    memory_batch,
    select_for,
)
from sam2_hf.tracking.memory_limits import MemoryLimits
from sam2_hf.tracking.policy import TrackingPolicy
from sam2_hf.tracking.records import Direction, Draft, FrameMemory, FrameResult, ObjectTrack, Prompt, moved
from sam2_hf.tracking.selection import Selection

OBJECTS_ON_CPU = 2  # tracked in one call from LARGE_SIDE pixels on
LARGE_SIDE = 512


@dataclass(slots=True)
class Tracker:
    """Model, frames and policy of one session; the tracks are handed in."""

    model: Sam2Model
    frames: FrameStore
    policy: TrackingPolicy
    limits: MemoryLimits

    # Prompts

    def prompt(self, track: ObjectTrack, frame: int, prompt: Prompt, use_previous_mask: bool = True) -> None:
        """Answers a prompt with a draft. The track changes only once everything has worked."""
        initial = frame not in track.visited or not track.prompted
        if prompt.mask is not None:
            prediction = self._adopt(frame, prompt.mask)
        else:
            previous = track.shown(frame) if use_previous_mask else None
            prediction = self._decode_points(track, frame, prompt, previous, initial)
        result = self._store(_results(self._fill(prediction))[0])
        track.prompts[frame] = prompt
        track.drafts[frame] = Draft(result=result, as_prompted=initial or self.policy.keep_corrections)

    def _adopt(self, frame: int, mask: Tensor) -> ObjectPrediction:
        masks = mask[None, None].to(self.model.execution_device)
        return self.model.adopt_masks(self.frames.features(frame), masks)

    def _decode_points(
        self, track: ObjectTrack, frame: int, prompt: Prompt, previous: FrameResult | None, initial: bool
    ) -> ObjectPrediction:
        features = self.frames.features(frame)
        if initial:
            features = self.model.recall(features)
        else:
            features = self._recall(features, [track], [self._select(track, frame, track.visited[frame])])
        config, device = self.model.config, self.model.execution_device
        num_points = len(prompt.points)
        is_ambiguous = config.multimask_min_pt_num <= num_points <= config.multimask_max_pt_num
        mask_logits = None
        if previous is not None and previous.mask_logits is not None:
            clamped = previous.mask_logits.to(device).clamp(-MASK_PROMPT_CLAMP, MASK_PROMPT_CLAMP)
            mask_logits = clamped[None, None]
        prompts = PromptBatch(
            points=torch.tensor([prompt.points], dtype=torch.float32, device=device),
            labels=torch.tensor([prompt.labels], device=device),
            mask_logits=mask_logits,
        )
        return self.model.decode_objects(
            features,
            prompts,
            1,
            multimask_output=config.multimask_output_in_sam and is_ambiguous,
            stable_fallback=self.policy.dynamic_multimask,
        )

    # Memory

    def commit(self, tracks: Iterable[ObjectTrack]) -> None:
        """Turns all drafts into memory. A draft replaces the record of its frame, so no correction is lost."""
        by_frame: dict[int, list[ObjectTrack]] = {}
        for track in tracks:
            for frame in track.drafts:
                by_frame.setdefault(frame, []).append(track)
        for frame, drafted in by_frame.items():
            results = [track.drafts[frame].result for track in drafted]
            spatial = self._memorize(self.frames.features(frame), results, is_prompted=True)
            for track, memory_map in zip(drafted, spatial, strict=True):
                self._commit_one(track, frame, memory_map)

    def _commit_one(self, track: ObjectTrack, frame: int, spatial: Tensor) -> None:
        draft = track.drafts.pop(frame)
        old = track.memories.get(frame)
        if old is not None and old.prompted and not draft.as_prompted:
            return  # without `keep_corrections` a prompted frame keeps its first record
        if draft.as_prompted and self.policy.forget_around_prompts:
            forget_around(track, frame, self.policy.recent_stride)
        memory = FrameMemory(result=draft.result, spatial=spatial, prompted=draft.as_prompted)
        track.memories[frame] = self._store(memory)

    def unprompt(self, track: ObjectTrack, frame: int) -> None:
        """Takes a frame's prompt back: what it made goes, or stays as tracked memory if the policy says so."""
        track.prompts.pop(frame, None)
        track.drafts.pop(frame, None)
        memory = track.memories.get(frame)
        if memory is None or not memory.prompted:
            return
        del track.memories[frame]
        if self.policy.clear_keeps_memory:
            track.memories[frame] = replace(memory, prompted=False)
        track.visited.pop(frame, None)

    def _memorize(self, features: ImageFeatures, results: list[FrameResult], is_prompted: bool) -> Tensor:
        """Spatial memory (rows, memory_channels, height, width) of results on one frame."""
        device = self.model.execution_device
        logits = torch.stack([result.mask_logits for result in results]).to(device)  # type: ignore[misc]  # new ones
        scores = torch.stack([result.object_score for result in results]).to(device)
        binarise = is_prompted and self.policy.binarize_prompted_masks
        prompted = torch.full((len(results),), binarise, device=device)
        return self.model.memorize(features, logits.unsqueeze(1), scores.unsqueeze(1), prompted)

    def adopt(self, track: ObjectTrack) -> ObjectTrack:
        """A track that was read from disk, its records where and how this session keeps them."""
        track.memories = {frame: self._store(memory) for frame, memory in track.memories.items()}
        track.drafts = {
            frame: replace(draft, result=self._store(draft.result)) for frame, draft in track.drafts.items()
        }
        return track

    def _store(self, record):
        """A record where and how it is kept."""
        device = "cpu" if self.policy.offload in ("state", "all") else self.model.execution_device
        return moved(record, device, self.policy.memory_dtype)

    # Steps

    def step(
        self, tracks: dict[Hashable, ObjectTrack], frame: int, direction: Direction, protected: Iterable[int] = ()
    ) -> dict[Hashable, FrameResult]:
        """Takes every object that has joined to one frame and returns their results, in the order of `tracks`."""
        joined = {key: track for key, track in tracks.items() if self._has_joined(track, frame, direction)}
        if not joined:
            return {}
        features = self.frames.features(frame)
        results = {
            key: track.memories[frame].result
            for key, track in joined.items()
            if frame in track.memories and track.memories[frame].prompted
        }
        pending = {key: track for key, track in joined.items() if key not in results}
        selections = {key: self._select(track, frame, direction) for key, track in pending.items()}
        for keys in self._in_parts(by_signature(selections)):
            group = [pending[key] for key in keys]
            chosen = [selections[key] for key in keys]
            results |= dict(zip(keys, self._track(group, chosen, features, frame), strict=True))
        for track in joined.values():
            track.visited[frame] = direction
            if self.frames.window:
                forget_behind(track, frame, direction, self.limits, protected)
        return {key: results[key] for key in joined}

    def _in_parts(self, groups: list[list]) -> Iterator[list]:
        """Groups as they are, but for large maps on a CPU, whose caches hold those of a few objects only."""
        is_large = self.frames.processor.target_size >= LARGE_SIDE and self.model.execution_device.type == "cpu"
        for keys in groups:
            size = OBJECTS_ON_CPU if is_large else len(keys)
            yield from (keys[start : start + size] for start in range(0, len(keys), size))

    def _has_joined(self, track: ObjectTrack, frame: int, direction: Direction) -> bool:
        prompted = track.prompted
        if self.policy.include_before_first_prompt:
            return bool(prompted)
        return any(direction * (frame - other) >= 0 for other in prompted)

    def _track(
        self, group: list[ObjectTrack], selections: list[Selection], features: ImageFeatures, frame: int
    ) -> list[FrameResult]:
        """Tracks objects of equal signature to a frame, remembers them there, and returns what is shown."""
        conditioned = self._recall(features, group, selections)
        prediction = self.model.decode_objects(
            conditioned,
            PromptBatch(),
            len(group),
            multimask_output=self.model.config.multimask_output_for_tracking,
            stable_fallback=self.policy.dynamic_multimask,
        )
        spatial = self._memorize(features, _results(prediction), is_prompted=False)
        shown = _results(self._fill(prediction))
        for track, result, memory_map in zip(group, shown, spatial, strict=True):
            track.memories[frame] = self._store(FrameMemory(result=result, spatial=memory_map, prompted=False))
        return shown

    def _select(self, track: ObjectTrack, frame: int, direction: Direction) -> Selection:
        return select_for(track, frame, direction, len(self.frames), self.limits)

    def _recall(self, features: ImageFeatures, group: list[ObjectTrack], selections: list[Selection]) -> ImageFeatures:
        divisor = self.limits.pointer_divisor(len(self.frames))
        memory = memory_batch(group, selections, divisor, self.model.execution_device, self.model.dtype)
        return self.model.recall(features, memory)

    def _fill(self, prediction: ObjectPrediction) -> ObjectPrediction:
        """Small holes filled in what is shown; memory of tracked frames does not see it."""
        if not self.policy.fill_hole_area:
            return prediction
        return ObjectPrediction(
            mask_logits=fill_holes(prediction.mask_logits, self.policy.fill_hole_area),
            iou_scores=prediction.iou_scores,
            object_score_logits=prediction.object_score_logits,
            object_pointers=prediction.object_pointers,
        )


def absent(size: int, device: torch.device) -> FrameResult:
    """What is shown of an object where nothing is known of it."""
    return FrameResult(
        mask_logits=torch.full((size, size), NO_OBJECT_LOGIT, device=device),
        object_pointer=None,
        object_score=torch.tensor(NO_OBJECT_LOGIT, device=device),
        iou_score=torch.tensor(0.0, device=device),
    )


def _results(prediction: ObjectPrediction) -> list[FrameResult]:
    """One record per row, each with storage of its own."""
    return [
        FrameResult(
            mask_logits=prediction.mask_logits[row].clone(),
            object_pointer=prediction.object_pointers[row].clone(),
            object_score=prediction.object_score_logits[row].float(),
            iou_score=prediction.iou_scores[row].float(),
        )
        for row in range(prediction.mask_logits.shape[0])
    ]
