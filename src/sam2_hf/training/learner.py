"""What learns in a run: the model and its losses, the optimiser, averaged weights; one batch at a time."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from sam2_hf.errors import TrainingError
from sam2_hf.modeling.model import Sam2Model
from sam2_hf.training.acceleration import accelerator_of
from sam2_hf.training.batches import ClipBatch
from sam2_hf.training.config import TrainConfig
from sam2_hf.training.mixing import MixedSource
from sam2_hf.training.optimisation import (
    WeightAverage,
    freeze,
    is_frozen,
    learning_rate_share,
    parameter_groups,
    set_dropout,
)
from sam2_hf.training.own_loss import open_own_loss
from sam2_hf.training.prompt_sampling import PromptPlan, draw_plan
from sam2_hf.training.step import TrainingStep
from sam2_hf.training.validation_loss import PLAN_SEED, mean_loss


class Learner:
    """Learns from batches, on one process or many that do the same.

    Args:
        model: changed in place.
        config: of the run.
        device: see `accelerator_of`.

    Attributes:
        accelerator: of this process.
        module: the model and its losses, as they are called.
        step: how many steps were made.
    """

    def __init__(self, model: Sam2Model, config: TrainConfig, device: str = "auto"):
        self.model, self.config = model, config
        self.accelerator = accelerator_of(config, device)
        with torch.random.fork_rng(devices=[]):  # adapters and the loss begin with random weights
            torch.manual_seed(config.seed)
            self._prepare()
            extra = None if config.extra_loss is None else open_own_loss(config.extra_loss, model.config)
        step = TrainingStep(model, config.rollout, config.loss, config.loss_reduction, config.loss_stride, extra)
        groups = parameter_groups(model, config.optimiser, extra)
        optimiser = torch.optim.AdamW(groups, lr=config.optimiser.learning_rate)
        self.module, self._optimiser = self.accelerator.prepare(step, optimiser)
        self._average = WeightAverage(model, config.average) if config.average > 0 else None
        self._plans = np.random.default_rng(PLAN_SEED)
        self.step = 0

    def _prepare(self) -> None:
        """Freezes, adds adapters, and sets what holds for this run only."""
        config, model = self.config, self.model
        freeze(model, config.freeze)
        if config.lora is not None:
            from sam2_hf.training.lora import add_adapters

            add_adapters(model, config.lora)
        if not config.uses_clips and not model.config.image_only:
            freeze(model, ["memory"])  # pictures never reach it
        set_dropout(model, config.drop_path, config.memory_dropout)
        if config.gradient_checkpointing:
            model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        if config.compile:
            model.vision_encoder.backbone.compile()

    # Learning

    @property
    def learning_rate(self) -> float:
        """Of everything but the image encoder, at the last step."""
        return self._optimiser.param_groups[-1]["lr"]

    def set_mode(self) -> None:
        """Training mode; a frozen image encoder stays in evaluation mode."""
        self.module.train()
        if is_frozen(self.model.vision_encoder):
            self.model.vision_encoder.eval()

    def learn(self, batch: ClipBatch, position: tuple[int, int], total: int) -> dict[str, float]:
        """Forward, backward and, unless gradients are accumulated, a step.

        Args:
            batch: on any device.
            position: epoch and number of the batch in it, from which dropout is seeded.
            total: steps of the run, for which the learning rate is planned.

        Returns:
            the loss and its parts, and how many objects and videos they are of.

        Raises:
            TrainingError: the loss became infinite or NaN.
        """
        config, batch = self.config, batch.to(self.accelerator.device)
        self._set_learning_rate(total)
        torch.manual_seed(_mixed(config.seed, *position, self.accelerator.process_index))
        plan = self._plan(batch)
        with self.accelerator.accumulate(self.module), self.accelerator.autocast():
            loss, parts = self.module(batch, plan, self._num_objects(batch), self.step / total)
            self._check_finite(loss, parts, batch)
            self.accelerator.backward(loss)
            if self.accelerator.sync_gradients:
                limit = config.optimiser.clip_norm or math.inf
                parts["gradient_norm"] = float(self.accelerator.clip_grad_norm_(self.module.parameters(), limit))
            self._optimiser.step()
            self._optimiser.zero_grad()
        if self.accelerator.sync_gradients:
            self.step += 1
            if self._average is not None:
                self._average.update(self.model)
        return {**parts, "objects": batch.num_objects, "videos": batch.frames.shape[0]}

    def _plan(self, batch: ClipBatch) -> PromptPlan:
        visible = torch.tensor(batch.visible, device=batch.frames.device).float()
        everywhere = self.accelerator.reduce(visible, "mean") == 1
        return draw_plan(batch.num_frames, self._plans, self.config.prompts, everywhere.tolist())

    def _num_objects(self, batch: ClipBatch) -> float:
        count = torch.tensor(float(batch.num_objects), device=batch.frames.device)
        return max(1.0, float(self.accelerator.reduce(count, "mean")))

    def _set_learning_rate(self, total: int) -> None:
        share = learning_rate_share(self.step, total, self.config.optimiser)
        for group in self._optimiser.param_groups:
            group["lr"] = group["initial_lr"] * share

    def _check_finite(self, loss: torch.Tensor, parts: dict, batch: ClipBatch) -> None:
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(
                f"step {self.step}: the loss is {value} ({parts}) on {', '.join(batch.names)}; lower the learning "
                f"rate, or resume from the last checkpoint in {self.config.output}"
            )

    # What all processes know together

    def means(self, figures: dict[str, float]) -> dict[str, float]:
        """Figures of all processes; they have the same names, because all follow one plan."""
        if self.accelerator.num_processes == 1:
            return figures
        values = torch.tensor(list(figures.values()), dtype=torch.float64, device=self.accelerator.device)
        return dict(zip(figures, self.accelerator.reduce(values, "mean").tolist(), strict=True))

    def is_any(self, flag: bool) -> bool:
        """Whether it is so on any process."""
        value = torch.tensor(float(flag), device=self.accelerator.device)
        return bool(self.accelerator.reduce(value, "sum") > 0)

    # The model as it is now

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model with the weights that are saved."""
        if self._average is not None:
            self._average.exchange(self.model)
        try:
            yield
        finally:
            if self._average is not None:
                self._average.exchange(self.model)

    @contextmanager
    def evaluated(self) -> Iterator[Sam2Model]:
        """The model with the weights that are saved, in evaluation mode."""
        with self.averaged():
            self.model.eval()
            try:
                yield self.model
            finally:
                self.set_mode()

    def mean_loss(self, sources: Sequence[MixedSource]) -> float:
        """The loss per step on clips that are held out, see `validation_loss`."""
        step = self.accelerator.unwrap_model(self.module)
        return mean_loss(step, sources, self.config.prompts, self.config.seed)

    def write_model(self, path: Path) -> None:
        """Saves the model to a folder, adapters merged."""
        with self.averaged():
            state = None
            if self.config.lora is not None:
                from sam2_hf.training.lora import merged_state_dict

                state = merged_state_dict(self.model)
            self.model.save_pretrained(path, state_dict=state)

    # To go on with

    def state(self) -> dict:
        """Everything that learning changes, to go on with later."""
        return {
            "model": self.accelerator.unwrap_model(self.module).state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
            "plans": self._plans.bit_generator.state,
            "step": self.step,
        }

    def restore(self, state: dict) -> None:
        """Takes up a `state`; what else is in it is left alone."""
        self.accelerator.unwrap_model(self.module).load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self._plans.bit_generator.state = state["plans"]
        self.step = state["step"]


def _mixed(*numbers: int) -> int:
    """One seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
