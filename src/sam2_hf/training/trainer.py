"""`Sam2Trainer`: trains on pictures and clips, on one process or many, and can be stopped at any time.

Everything random is derived from (seed, epoch, step, process), so a resumed run goes on as if it had not stopped.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from sam2_hf.modeling.model import Sam2Model
from sam2_hf.training.batches import ClipBatch
from sam2_hf.training.checkpoints import BEST, MODEL, TrainingFolder
from sam2_hf.training.config import TrainConfig
from sam2_hf.training.epochs import Epochs
from sam2_hf.training.learner import Learner
from sam2_hf.training.mixing import MixedSource

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
        ConfigError: a device or precision that is not to be had here, or data for less than a step.
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
        self.config, self.processor = config, processor
        self.validation, self.validate = list(validation), validate
        self.report, self.kept, self.stepped = report, kept, stepped
        self.learner = Learner(model, config, device)
        self.model, self.accelerator = model, self.learner.accelerator
        self.folder = TrainingFolder(config)
        place = (self.accelerator.process_index, self.accelerator.num_processes)
        self.epochs = Epochs(sources, config, model.config.image_size, *place)
        self.best, self.validated = -math.inf, -1  # the step of the last validation
        self.interrupted, self._stop_requested = False, False
        self.figures: dict[str, float] = {}  # of the last validation

    @property
    def step(self) -> int:
        """How many steps were made."""
        return self.learner.step

    @property
    def total_steps(self) -> int:
        """Steps of the whole run, for which the learning rate is planned."""
        return self.epochs.total_steps

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
            self.learner.set_mode()
            record = self._run_epochs()
            self._save()
            if self.config.trackers:
                self.accelerator.end_training()
        return record

    def stop(self) -> None:
        """Asks a running `train` to end after the step at hand, with everything saved to resume from."""
        self._stop_requested = True

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
        for epoch, length in enumerate(self.epochs.lengths):
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

    def _run_epoch(self, epoch: int, skip: int) -> dict[str, float] | None:
        sums, count, began, record = defaultdict(float), 0, time.monotonic(), None
        length = self.epochs.lengths[epoch]
        for number, batch in self.epochs.batches(epoch, skip):
            parts = self._batch(batch, (epoch, number))
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
            if self.learner.is_any(self._stop_requested):
                self.interrupted = True
                break
        return record

    def _batch(self, batch: ClipBatch, position: tuple[int, int]) -> dict[str, float]:
        return self.learner.learn(batch, position, self.total_steps)

    # Keeping

    def _log(self, epoch: float, sums: dict, count: int, seconds: float) -> dict[str, float]:
        record = {"step": self.step, "epoch": round(epoch, 4), "learning_rate": self.learner.learning_rate}
        means = self.learner.means(sums)
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

    def _save(self) -> None:
        """Everything to resume from, and the model as it is now."""
        if self.accelerator.is_main_process:
            self._save_state()
            self._save_model(MODEL)
            self._show()

    def _show(self) -> None:
        if self.kept is not None:
            with self.learner.evaluated() as model:
                self.kept(self.step, model)

    def _save_state(self) -> None:
        run = {"best": self.best, "validated": self.validated, "figures": self.figures}
        self.folder.save(self.learner.state() | run)

    def _save_model(self, name: str) -> None:
        self.folder.save_model(name, self._write_model)

    def _write_model(self, path: Path) -> None:
        self.learner.write_model(path)
        if self.processor is not None:
            self.processor.save_pretrained(path)

    def _restore(self, state: dict) -> None:
        self.learner.restore(state)
        self.best = state["best"]
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
            with self.learner.evaluated() as model:
                figures = {} if self.validate is None else self.validate(model)
                if self.validation:
                    figures |= {"loss_per_step": self.learner.mean_loss(self.validation)}
            self.figures = figures
            self._note({"step": self.step, "epoch": epoch + 1, "validation": figures})
            if figures.get("score", -math.inf) > self.best:
                self.best = figures["score"]
                self._save_model(BEST)
        self.validated = self.step
        if self.accelerator.is_main_process:
            self._save_state()
            self._show()
        self.learner.set_mode()
        self.accelerator.wait_for_everyone()
