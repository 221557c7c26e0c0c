"""`Sam2Trainer`: trains on pictures and clips, on one process or many, and can be stopped at any time.

Everything random is derived from (seed, epoch, step, process), so a resumed run goes on as if it had not stopped.
"""

import math
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice

import numpy as np
import torch
from torch.utils.data import DataLoader

from sam2_hf.checkpoints.loading import placement
from sam2_hf.errors import ConfigError, Sam2Error, TrainingError
from sam2_hf.modeling.model import Sam2Model
from sam2_hf.training.batches import ClipBatch
from sam2_hf.training.checkpoints import BEST, MODEL, TrainingFolder
from sam2_hf.training.config import TrainConfig
from sam2_hf.training.mixing import (
    CarriedErrors,
    MixedDataset,
    MixedSource,
    collate_or_error,
    epoch_batches,
    epoch_length,
)
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

Validate = Callable[[Sam2Model], dict[str, float]]


class Sam2Trainer:
    """Trains a model.

    Args:
        model: changed in place.
        config: of the run.
        sources: of clips; see `build_sources`.
        validation: sources whose loss is measured every `validate_every` epochs.
        validate: called every `validate_every` epochs with the model in evaluation mode; returns figures, of which
            `score` decides which model is the best.
        processor: saved beside the model, so that the folder is complete.
        report: called with every record of the log, on the main process.
        kept: called after every save and validation with the number of the step and the model as it would be saved, in
            evaluation mode, on the main process.
        stepped: called after every step with its number and the loss of its last batch, on the main process.
        device: "auto" for the accelerator of this machine or its CPU, "cpu", "cuda", "cuda:1", "mps" or "xpu"; of
            several processes each has one of its own.

    Raises:
        ConfigError: a device or precision that is not to be had here.
    """

    def __init__(
        self,
        model: Sam2Model,
        config: TrainConfig,
        sources: Sequence[MixedSource],
        *,
        validation: Sequence[MixedSource] = (),
        validate: Validate | None = None,
        processor=None,
        report: Callable[[dict], None] | None = None,
        kept: Callable[[int, Sam2Model], None] | None = None,
        stepped: Callable[[int, float], None] | None = None,
        device: str = "auto",
    ):
        from accelerate import Accelerator, DistributedDataParallelKwargs

        self.config, self.sources, self.validation = config, list(sources), list(validation)
        self.validate, self.processor = validate, processor
        self.report, self.kept, self.stepped = report, kept, stepped
        self.accelerator = Accelerator(
            cpu=_takes_cpu(device, config.mixed_precision),  # else several processes on CPU do not find each other
            mixed_precision=config.mixed_precision,
            gradient_accumulation_steps=config.accumulate,
            log_with=list(config.trackers) or None,
            project_dir=config.output,
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        self.model = model
        self._prepare_model()
        extra = None if config.extra_loss is None else open_own_loss(config.extra_loss, model.config)
        step = TrainingStep(model, config.rollout, config.loss, config.loss_reduction, config.loss_stride, extra)
        groups = parameter_groups(model, config.optimiser, extra)
        optimiser = torch.optim.AdamW(groups, lr=config.optimiser.learning_rate)
        self.module, self.optimiser = self.accelerator.prepare(step, optimiser)
        self.average = WeightAverage(model, config.average) if config.average > 0 else None
        self.plans = np.random.default_rng(PLAN_SEED)
        self.folder = TrainingFolder(config)
        self.dataset = MixedDataset(self.sources, model.config.image_size, config.seed)
        processes = self.accelerator.num_processes
        self.batches_per_epoch = [
            epoch_length(self.sources, epoch, config.seed, processes) for epoch in range(config.epochs)
        ]
        self.step, self.best, self.validated = 0, -math.inf, -1  # the step of the last validation
        self.interrupted, self._stop_requested = False, False
        self.figures: dict[str, float] = {}  # of the last validation

    @property
    def total_steps(self) -> int:
        """Steps of the whole run, for which the learning rate is planned."""
        steps = sum(self.batches_per_epoch) // self.config.accumulate
        return steps if self.config.max_steps is None else min(steps, self.config.max_steps)

    def train(
        self, resume: bool = False, overwrite: bool = False, before: dict[str, float] | None = None
    ) -> dict[str, float]:
        """Trains to the end and saves the model; returns the last logged figures.

        Args:
            resume: go on with the run in the folder; from the start if it was stopped before its first checkpoint.
            overwrite: remove what the run in the folder wrote, and begin anew.
            before: figures of the model that a run starts from, for its log.

        Raises:
            TrainingError: the loss became infinite or NaN; the last checkpoint is kept.
            ConfigChangedError: the run to be resumed was begun with another configuration.
            OutputExistsError: the folder holds a run with a checkpoint and neither was asked for, another process
                trains there, or a file that no run wrote is in the way.
        """
        with self._opened(resume, overwrite) as state:
            if state is not None:
                self._restore(state)
            elif before and self.accelerator.is_main_process:
                self.folder.log({"step": 0, "epoch": 0, "validation": before})
            if self.config.trackers:
                self.accelerator.init_trackers("sam2_hf")
            self._set_mode()
            record = self._run_epochs()
            self._save()
            if self.config.trackers:
                self.accelerator.end_training()
        return record

    def stop(self) -> None:
        """Asks a running `train` to end after the step at hand, with everything saved to resume from."""
        self._stop_requested = True

    # Preparation

    def _prepare_model(self) -> None:
        config, model = self.config, self.model
        if config.lora is not None:
            from sam2_hf.training.lora import add_adapters

            freeze(model, config.freeze)
            add_adapters(model, config.lora)
        else:
            freeze(model, config.freeze)
        if not config.uses_clips and not model.config.image_only:
            freeze(model, ["memory"])  # pictures never reach it
        set_dropout(model, config.drop_path, config.memory_dropout)
        if config.gradient_checkpointing:
            model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        if config.compile:
            model.vision_encoder.backbone.compile()

    def _set_mode(self) -> None:
        self.module.train()
        if is_frozen(self.model.vision_encoder):
            self.model.vision_encoder.eval()

    @contextmanager
    def _evaluated(self) -> Iterator[None]:
        """The model as it would be saved, in evaluation mode."""
        if self.average is not None:
            self.average.exchange(self.model)
        self.model.eval()
        try:
            yield
        finally:
            if self.average is not None:
                self.average.exchange(self.model)
            self._set_mode()

    @contextmanager
    def _opened(self, resume: bool, overwrite: bool) -> Iterator[dict | None]:
        """The folder, kept by the main process, and the state to go on from."""
        if not self.accelerator.is_main_process:
            self.accelerator.wait_for_everyone()
            yield self.folder.state() if resume else None
            return
        with self.folder.opened(resume, overwrite) as state:
            self.accelerator.wait_for_everyone()
            try:
                yield state
            except BaseException as error:
                with suppress(OSError):  # a full disk: the first error is the one to be told
                    self.folder.end("failed", steps=self.step, error=str(error))
                raise
            self.folder.end("interrupted" if self.interrupted else "done", steps=self.step)

    # Epochs and steps

    def _run_epochs(self) -> dict[str, float]:
        """The epochs that are still to come, and a validation that was due when the run was stopped."""
        record: dict[str, float] = {}
        skip = self.step * self.config.accumulate
        for epoch, length in enumerate(self.batches_per_epoch):
            if skip > length:
                skip -= length
                continue
            if skip < length and self.step < self.total_steps:
                record = self._run_epoch(epoch, skip) or record
            skip = 0
            if self.interrupted:
                break
            if self.step != self.validated:
                self._validate(epoch)
            if self.step >= self.total_steps:
                break
        return record

    def _epoch(self, epoch: int) -> list:
        return epoch_batches(self.sources, epoch, self.config.seed, self.accelerator.num_processes)

    def _loader(self, epoch: int, skip: int) -> DataLoader:
        """Batches of this process, without those that were done before."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        batches = [keys[rank::processes] for keys in self._epoch(epoch)[skip:]]
        return DataLoader(
            CarriedErrors(self.dataset),
            batch_sampler=batches,
            collate_fn=collate_or_error,
            num_workers=self.config.workers,
            prefetch_factor=4 if self.config.workers else None,
        )

    def _run_epoch(self, epoch: int, skip: int) -> dict[str, float] | None:
        sums, count, began, record = defaultdict(float), 0, time.monotonic(), None
        length = self.batches_per_epoch[epoch]
        for number, batch in enumerate(islice(self._loader(epoch, skip), length - skip), skip):
            if isinstance(batch, Sam2Error):
                raise batch
            parts = self._batch(batch.to(self.accelerator.device), (epoch, number))
            for name, value in parts.items():
                sums[name] += value
            count += 1
            if not self.accelerator.sync_gradients:
                continue
            if self.stepped is not None and self.accelerator.is_main_process:
                self.stepped(self.step, parts["loss_per_step"])
            if self.step % self.config.log_every == 0 or self.step >= self.total_steps:
                record = self._log(epoch + (number + 1) / length, sums, count, time.monotonic() - began)
                sums, count, began = defaultdict(float), 0, time.monotonic()
            if self.step % self.config.save_every == 0:
                self._save()
            if self.step >= self.total_steps:
                break
            if self._is_stopping():
                self.interrupted = True
                break
        return record

    def _is_stopping(self) -> bool:
        """Whether any process was asked to stop; all agree on the step."""
        requested = torch.tensor(float(self._stop_requested), device=self.accelerator.device)
        return bool(self.accelerator.reduce(requested, "sum") > 0)

    def _batch(self, batch: ClipBatch, position: tuple[int, int]) -> dict[str, float]:
        """Forward, backward and, unless gradients are accumulated, a step.

        Args:
            position: epoch and number of the batch in it, from which dropout is seeded.
        """
        config = self.config
        self._set_learning_rate()
        torch.manual_seed(_mixed(config.seed, *position, self.accelerator.process_index))
        plan = self._plan(batch)
        with self.accelerator.accumulate(self.module), self.accelerator.autocast():
            loss, parts = self.module(batch, plan, self._num_objects(batch), self.step / self.total_steps)
            self._check_finite(loss, parts, batch)
            self.accelerator.backward(loss)
            if self.accelerator.sync_gradients:
                limit = config.optimiser.clip_norm or math.inf
                parts["gradient_norm"] = float(self.accelerator.clip_grad_norm_(self.module.parameters(), limit))
            self.optimiser.step()
            self.optimiser.zero_grad()
        if self.accelerator.sync_gradients:
            self.step += 1
            if self.average is not None:
                self.average.update(self.model)
        return {**parts, "objects": batch.num_objects, "videos": batch.frames.shape[0]}

    def _plan(self, batch: ClipBatch) -> PromptPlan:
        visible = torch.tensor(batch.visible, device=batch.frames.device).float()
        everywhere = self.accelerator.reduce(visible, "mean") == 1
        return draw_plan(batch.num_frames, self.plans, self.config.prompts, everywhere.tolist())

    def _num_objects(self, batch: ClipBatch) -> float:
        count = torch.tensor(float(batch.num_objects), device=batch.frames.device)
        return max(1.0, float(self.accelerator.reduce(count, "mean")))

    def _set_learning_rate(self) -> None:
        share = learning_rate_share(self.step, self.total_steps, self.config.optimiser)
        for group in self.optimiser.param_groups:
            group["lr"] = group["initial_lr"] * share

    def _check_finite(self, loss: torch.Tensor, parts: dict, batch: ClipBatch) -> None:
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(
                f"step {self.step}: the loss is {value} ({parts}) on {', '.join(batch.names)}; lower the learning "
                f"rate, or resume from the last checkpoint in {self.folder.path}"
            )

    # Keeping

    def _log(self, epoch: float, sums: dict, count: int, seconds: float) -> dict[str, float]:
        record = {"step": self.step, "epoch": round(epoch, 4), "learning_rate": self.optimiser.param_groups[-1]["lr"]}
        means = self._mean_over_processes(sums)
        record |= {name: value / count for name, value in means.items() if name not in ("objects", "videos")}
        record |= {"clips_per_second": means["videos"] * self.accelerator.num_processes / seconds}
        if self.accelerator.is_main_process:
            self._note(record)
        if self.config.trackers:
            self.accelerator.log(record, step=self.step)
        return record

    def _note(self, record: dict) -> None:
        self.folder.log(record)
        if self.report is not None:
            self.report(record)

    def _mean_over_processes(self, sums: dict[str, float]) -> dict[str, float]:
        """Figures of all processes; they have the same names, because all follow one plan."""
        if self.accelerator.num_processes == 1:
            return sums
        values = torch.tensor(list(sums.values()), dtype=torch.float64, device=self.accelerator.device)
        return dict(zip(sums, self.accelerator.reduce(values, "mean").tolist(), strict=True))

    def _save(self) -> None:
        """Everything to resume from, and the model as it is now."""
        if self.accelerator.is_main_process:
            self._save_state()
            self._save_model(MODEL)
            self._show()

    def _show(self) -> None:
        if self.kept is not None:
            with self._evaluated():
                self.kept(self.step, self.model)

    def _save_state(self) -> None:
        step = self.accelerator.unwrap_model(self.module)
        self.folder.save(
            {
                "model": step.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "average": None if self.average is None else self.average.state_dict(),
                "plans": self.plans.bit_generator.state,
                "step": self.step,
                "best": self.best,
                "validated": self.validated,
                "figures": self.figures,
            }
        )

    def _save_model(self, name: str) -> None:
        if self.average is not None:
            self.average.exchange(self.model)
        try:
            self.folder.save_model(name, self._write_model)
        finally:
            if self.average is not None:
                self.average.exchange(self.model)

    def _write_model(self, path) -> None:
        state = None
        if self.config.lora is not None:
            from sam2_hf.training.lora import merged_state_dict

            state = merged_state_dict(self.model)
        self.model.save_pretrained(path, state_dict=state)
        if self.processor is not None:
            self.processor.save_pretrained(path)

    def _restore(self, state: dict) -> None:
        self.accelerator.unwrap_model(self.module).load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.plans.bit_generator.state = state["plans"]
        self.step, self.best = state["step"], state["best"]
        validated = state.get("validated")
        self.validated = self.folder.last_validation() if validated is None else validated
        self.figures = state.get("figures", {})
        if self.accelerator.is_main_process:
            self.folder.cut_log(self.step, self.validated)

    def _validate(self, epoch: int) -> None:
        """Figures of the averaged model on the held-out list; the best one is kept."""
        every = self.config.validate_every
        is_due = every and ((epoch + 1) % every == 0 or self.step >= self.total_steps)
        if not is_due or (self.validate is None and not self.validation):
            return
        if self.accelerator.is_main_process:
            with self._evaluated():
                figures = {} if self.validate is None else self.validate(self.model)
                if self.validation:
                    step = self.accelerator.unwrap_model(self.module)
                    loss = mean_loss(step, self.validation, self.config.prompts, self.config.seed)
                    figures |= {"loss_per_step": loss}
            self.figures = figures
            self._note({"step": self.step, "epoch": epoch + 1, "validation": figures})
            if figures.get("score", -math.inf) > self.best:
                self.best = figures["score"]
                self._save_model(BEST)
        self.validated = self.step
        if self.accelerator.is_main_process:
            self._save_state()
            self._show()
        self._set_mode()
        self.accelerator.wait_for_everyone()


def _takes_cpu(device: str, mixed_precision: str) -> bool:
    """Makes a device the one of this process, and says whether that is the CPU."""
    taken = placement(device)[0]
    if ":" in taken:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ConfigError(f"device {device!r} is one device, but each process has its own; pass its kind alone")
        torch.accelerator.set_device_index(torch.device(taken).index)
    is_cpu = taken == "cpu" if device != "auto" else not torch.accelerator.is_available()
    if is_cpu and mixed_precision == "fp16":
        raise ConfigError("fp16 needs a GPU, this run is on the CPU; take bf16 or fp32")
    return is_cpu


def _mixed(*numbers: int) -> int:
    """One seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
