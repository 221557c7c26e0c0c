"""One training step through a batch of clips: prompts, tracking, corrections, with gradients through all of it.

    first frames: prompt -> decode -> (corrections) -> memorize
    other frames: select -> recall -> decode -> (corrections) -> memorize

Selection and decoding are those of inference; only the user is simulated. Clips of one frame use no memory at all.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sam2_hf.modeling.configuration import MASK_AS_LOGITS_BIAS, MASK_AS_LOGITS_SCALE
from sam2_hf.modeling.losses import resize_to
from sam2_hf.modeling.model import Sam2Model
from sam2_hf.modeling.object_head import NO_OBJECT_LOGIT, choose_masks
from sam2_hf.modeling.outputs import ImageFeatures, MaskPrediction, MemoryBatch, ObjectPrediction, PromptBatch
from sam2_hf.modeling.prompt_groups import MASK_PROMPT_CLAMP
from sam2_hf.tracking.memory_limits import MemoryLimits
from sam2_hf.tracking.policy import TrackingPolicy
from sam2_hf.tracking.selection import Selection, select
from sam2_hf.training.batches import ClipBatch, PromptDraws
from sam2_hf.training.prompt_sampling import PromptPlan, centre_clicks, noisy_boxes, uniform_clicks

ORIGINAL_REACH = TrackingPolicy(pointer_span="clip")  # short clips divide pointer distances by their own length

StepKind = Literal["mask", "prompt", "track", "correction"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutOptions:
    """How the model is led through a clip.

    Attributes:
        gate_masks: masks of objects whose score says "absent" count as -1024 in the loss, as in the original; there a
            visible object gets no gradient for its mask. Memory and previous masks are always gated.
        clamp_previous: limit of the logits that a correction step is given, None for the original's no limit.
        clicks: "uniform" over the error as in training, or "centre" as in evaluation.
        checkpoint_corrections: recompute correction steps in the backward pass instead of keeping them.
        encode_per_frame: encode each frame on its own and recompute it in the backward pass.
    """

    gate_masks: bool = False
    clamp_previous: float | None = MASK_PROMPT_CLAMP
    clicks: Literal["uniform", "centre"] = "uniform"
    checkpoint_corrections: bool = False
    encode_per_frame: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutput:
    """What one decoder step on one frame predicted, for the loss.

    Attributes:
        frame: in the clip.
        kind: "mask" steps hold what the user gave and teach the decoder nothing.
        mask_logits: (objects, masks, height, width) at stride 4, or at the model's size for a mask prompt.
        iou_scores: (objects, masks).
        object_score_logits: (objects, 1).
        points, labels: the prompt so far, (objects, points, 2) and (objects, points); None without points.
    """

    frame: int
    kind: StepKind
    mask_logits: Tensor
    iou_scores: Tensor
    object_score_logits: Tensor
    points: Tensor | None = None
    labels: Tensor | None = None


@dataclass(slots=True)
class _Frame:
    """Features and prompts of the frame at hand."""

    index: int
    raw: ImageFeatures
    conditioned: ImageFeatures
    points: Tensor | None = None
    labels: Tensor | None = None


@dataclass(slots=True)
class _Memory:
    """What the objects remember, by frame, all rows together."""

    spatial: dict[int, Tensor] = field(default_factory=dict)
    pointers: dict[int, Tensor] = field(default_factory=dict)
    prompted: set[int] = field(default_factory=set)


class Rollout:
    """Leads a model through clips and keeps every prediction."""

    def __init__(self, model: Sam2Model, options: RolloutOptions):
        self.model, self.options = model, options

    def run(self, batch: ClipBatch, plan: PromptPlan) -> tuple[list[StepOutput], ImageFeatures]:
        """All steps in the order they were made, and the raw features (videos * frames, ...)."""
        features = self._encode(batch)
        draws, memory, steps = batch.draws(), _Memory(), []
        rest = [frame for frame in range(batch.num_frames) if frame not in plan.initial]
        for index in (*plan.initial, *rest):
            frame = self._open(batch, features, memory, plan, index)
            outputs, last = self._answer(batch, plan, frame, draws)
            if index in plan.corrected:
                corrections, last = self._correct(batch, plan, frame, last, draws)
                outputs += corrections
            steps += outputs
            if batch.num_frames > 1:
                self._remember(batch, plan, frame, last, memory)
        return steps, features

    # Features

    def _encode(self, batch: ClipBatch) -> ImageFeatures:
        pixels = batch.frames.flatten(0, 1)
        if not self.options.encode_per_frame:
            return self.model.encode_image(pixels)
        parts = [checkpoint(self.model.encode_image, one, use_reentrant=False) for one in pixels.split(1)]
        return ImageFeatures(
            image_embedding=torch.cat([part.image_embedding for part in parts]),
            high_res_0=torch.cat([part.high_res_0 for part in parts]),
            high_res_1=torch.cat([part.high_res_1 for part in parts]),
            dense_position=parts[0].dense_position,
        )

    def _open(self, batch: ClipBatch, features: ImageFeatures, memory: _Memory, plan: PromptPlan, index: int) -> _Frame:
        raw = _of_frame(features, batch, index)
        if index in plan.initial:
            return _Frame(index=index, raw=raw, conditioned=self.model.recall(raw))
        return _Frame(index=index, raw=raw, conditioned=self.model.recall(raw, self._recalled(batch, memory, index)))

    def _recalled(self, batch: ClipBatch, memory: _Memory, index: int) -> MemoryBatch:
        limits = MemoryLimits.of(self.model.config, ORIGINAL_REACH)
        selection = select(
            index,
            memory.prompted,
            set(memory.spatial) - memory.prompted,
            direction=1,
            num_frames=batch.num_frames,
            pointer_reach=limits.pointer_reach(batch.num_frames),
            future_pointers=self.model.training,
            max_prompted=limits.max_prompted,
            num_slots=limits.slots,
        )
        return _memory_batch(memory, selection, limits.pointer_divisor(batch.num_frames))

    # Steps

    def _answer(
        self, batch: ClipBatch, plan: PromptPlan, frame: _Frame, draws: PromptDraws
    ) -> tuple[list[StepOutput], ObjectPrediction]:
        """The first step on a frame: the prompt of the plan, or none for a tracked one."""
        kind = plan.initial.get(frame.index)
        truth = batch.masks[:, frame.index]
        if kind == "mask":
            return self._adopt(frame, truth)
        if kind == "box":
            noise = 2 * draws.uniform(4) - 1 if self.options.clicks == "uniform" else 0 * draws.uniform(4)
            frame.points = noisy_boxes(truth, noise)
            frame.labels = torch.tensor([[2, 3]], device=truth.device).expand(len(truth), -1)
        elif kind == "click":
            frame.points, frame.labels = self._click(truth, None, draws)
        prediction = self._decode(frame, None, batch.num_objects)
        chosen = choose_masks(prediction, self._pointers(batch))
        return [self._output(frame, "track" if kind is None else "prompt", prediction)], chosen

    def _adopt(self, frame: _Frame, truth: Tensor) -> tuple[list[StepOutput], ObjectPrediction]:
        drawn = self.model.adopt_masks(frame.raw, truth.unsqueeze(1))
        output = StepOutput(
            frame=frame.index,
            kind="mask",
            mask_logits=truth.unsqueeze(1).float() * MASK_AS_LOGITS_SCALE + MASK_AS_LOGITS_BIAS,
            iou_scores=drawn.iou_scores.unsqueeze(1),
            object_score_logits=drawn.object_score_logits.unsqueeze(1),
        )
        return [output], drawn

    def _correct(
        self, batch: ClipBatch, plan: PromptPlan, frame: _Frame, last: ObjectPrediction, draws: PromptDraws
    ) -> tuple[list[StepOutput], ObjectPrediction]:
        """Clicks on what is wrong, each seen together with all earlier ones and the previous mask."""
        outputs = []
        truth = batch.masks[:, frame.index]
        for from_truth in plan.from_truth[frame.index]:
            shown = resize_to(last.mask_logits.unsqueeze(1), truth.shape[-2:])[:, 0] > 0
            points, labels = self._click(truth, None if from_truth else shown, draws)
            frame.points = points if frame.points is None else torch.cat((frame.points, points), dim=1)
            frame.labels = labels if frame.labels is None else torch.cat((frame.labels, labels), dim=1)
            prediction = self._decode(frame, last.mask_logits.unsqueeze(1), batch.num_objects)
            last = choose_masks(prediction, self._pointers(batch))
            outputs.append(self._output(frame, "correction", prediction))
        return outputs, last

    def _decode(self, frame: _Frame, previous: Tensor | None, rows: int) -> MaskPrediction:
        config = self.model.config
        if previous is not None and self.options.clamp_previous is not None:
            previous = previous.clamp(-self.options.clamp_previous, self.options.clamp_previous)
        count = 0 if frame.points is None else frame.points.shape[1]
        is_ambiguous = config.multimask_min_pt_num <= count <= config.multimask_max_pt_num
        wants_candidates = config.multimask_output_in_sam and is_ambiguous
        prompts = PromptBatch(points=frame.points, labels=frame.labels, mask_logits=previous)
        arguments = (frame.conditioned, prompts, rows, wants_candidates, False)
        if previous is not None and self.options.checkpoint_corrections and torch.is_grad_enabled():
            return checkpoint(self.model.decode_candidates, *arguments, use_reentrant=False)
        return self.model.decode_candidates(*arguments)

    def _click(self, truth: Tensor, prediction: Tensor | None, draws: PromptDraws) -> tuple[Tensor, Tensor]:
        if self.options.clicks == "centre":
            return centre_clicks(truth, prediction)
        return uniform_clicks(truth, prediction, draws.uniform())

    def _output(self, frame: _Frame, kind: StepKind, prediction: MaskPrediction) -> StepOutput:
        logits = prediction.mask_logits
        if self.options.gate_masks:
            is_absent = prediction.object_score_logits[..., None, None] <= 0
            logits = logits.masked_fill(is_absent, NO_OBJECT_LOGIT)
        return StepOutput(
            frame=frame.index,
            kind=kind,
            mask_logits=logits,
            iou_scores=prediction.iou_scores,
            object_score_logits=prediction.object_score_logits,
            points=frame.points,
            labels=frame.labels,
        )

    # Memory

    def _pointers(self, batch: ClipBatch):
        """Makes object pointers; pictures have none, and models without memory cannot."""
        if batch.num_frames > 1:
            return self.model.object_pointers
        return lambda tokens, scores: tokens

    def _remember(
        self, batch: ClipBatch, plan: PromptPlan, frame: _Frame, last: ObjectPrediction, memory: _Memory
    ) -> None:
        """Writes a frame's last prediction to memory; a mask that the user gave at full resolution."""
        logits = last.mask_logits.unsqueeze(1)
        if plan.initial.get(frame.index) == "mask" and frame.index not in plan.corrected:
            logits = batch.masks[:, frame.index].unsqueeze(1) * MASK_AS_LOGITS_SCALE + MASK_AS_LOGITS_BIAS
        not_binary = torch.zeros(batch.num_objects, dtype=torch.bool, device=logits.device)
        scores = last.object_score_logits.unsqueeze(1)
        memory.spatial[frame.index] = self.model.memorize(frame.raw, logits, scores, not_binary)
        memory.pointers[frame.index] = last.object_pointers
        if frame.index in plan.initial or frame.index in plan.corrected:
            memory.prompted.add(frame.index)


def _of_frame(features: ImageFeatures, batch: ClipBatch, index: int) -> ImageFeatures:
    """Features of one frame of every video; shared by its objects, or one row per object if videos differ in number."""
    rows = torch.arange(batch.frames.shape[0], device=batch.video_of.device)
    rows = (rows if batch.objects_per_video is not None else batch.video_of) * batch.num_frames + index
    return ImageFeatures(
        image_embedding=features.image_embedding[rows],
        high_res_0=features.high_res_0[rows],
        high_res_1=features.high_res_1[rows],
        dense_position=features.dense_position,
    )


def _memory_batch(memory: _Memory, selection: Selection, divisor: int) -> MemoryBatch:
    """What all rows remember, stacked; they share the plan, so they look at the same frames."""
    spatial = torch.stack([memory.spatial[frame] for frame, _ in selection.spatial], dim=1)
    rows, device = spatial.shape[0], spatial.device
    times = torch.tensor([slot for _, slot in selection.spatial], device=device)
    distances = torch.tensor([distance / divisor for _, distance in selection.pointers], device=device)
    return MemoryBatch(
        spatial=spatial,
        spatial_time=times.expand(rows, -1),
        pointers=torch.stack([memory.pointers[frame] for frame, _ in selection.pointers], dim=1),
        pointer_time=distances.expand(rows, -1),
    )
