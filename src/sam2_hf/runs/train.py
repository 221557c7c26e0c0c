"""A training run: its model, its data, what is measured, and an end on request."""

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from transformers.utils import logging

from sam2_hf.checkpoints.loading import load
from sam2_hf.evaluation.validation import Validation
from sam2_hf.processing.processor import Sam2Processor
from sam2_hf.runs.interruption import Interruption
from sam2_hf.runs.train_pictures import TrainPictures
from sam2_hf.runs.train_progress import TrainProgress
from sam2_hf.runs.train_settings import TrainSettings
from sam2_hf.training.build import (
    build_sources,
    build_validation,
    hold_out_clips,
    open_clips,
    random_model,
    with_overrides,
)
from sam2_hf.training.checkpoints import TrainingFolder
from sam2_hf.training.config import TrainConfig
from sam2_hf.training.trainer import Sam2Trainer

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class TrainOutcome:
    """How a run ended.

    Attributes:
        folder: of the run; the model is in `folder/model`, the best one in `folder/best`.
        steps: that were made, with those of earlier runs.
        interrupted: it was asked to stop, and can be gone on with.
        record: the last line of the log.
        figures: of the last validation.
        pictures: files that show how the run went: curves of its log, and masks before and after it.
        is_main: False in a process that leaves the report to another.
    """

    folder: Path
    steps: int
    interrupted: bool
    record: dict[str, float]
    figures: dict[str, float]
    pictures: tuple[Path, ...] = ()
    is_main: bool = True


def train(settings: TrainSettings, *, say: Say = lambda line: None, bar: bool = False) -> TrainOutcome:
    """Trains to the end, or until Ctrl-C, after which the step at hand is finished and saved.

    Args:
        say: called with lines for people, on the main process.
        bar: show progress where there is a terminal, and not in lines.

    Raises:
        ConfigError, SourceError: what cannot be meant, or data that cannot be read.
        OutputExistsError, ConfigChangedError, TrainingError: as `Sam2Trainer.train`.
    """
    config, base = settings.to_config(), settings.base
    has_bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        if settings.hold_out:
            config, held = hold_out_clips(config, settings.hold_out, base)
            say(f"held out: {', '.join(held)}")
        if os.environ.get("RANK", "0") == "0":
            TrainingFolder(config).check(settings.resume, settings.overwrite)  # before minutes are spent
        network, processor, line = _start(config)
        say(line)
        return _train(config, base, network, processor, settings, say, bar)
    finally:
        if has_bars:
            logging.enable_progress_bar()


def _train(config: TrainConfig, base: Path | None, network, processor, settings: TrainSettings, say: Say, bar: bool):
    validate = _validation(config, base, processor)
    sources, held_out = build_sources(config, base), build_validation(config, base)
    trainer = Sam2Trainer(
        network,
        config,
        sources,
        validation=held_out,
        validate=validate,
        processor=processor,
        device=settings.device,
    )
    is_main = trainer.accelerator.is_main_process
    before = None
    if validate is not None and not settings.resume and is_main:
        before = validate(network.eval())
        say(f"before: {figures_line(before)}")
    pictures = TrainPictures(trainer.folder, processor)
    if is_main:
        pictures.begin(network.eval(), held_out or sources, config.seed)
        trainer.kept = pictures.draw
        say(f"{trainer.total_steps} steps to {config.output}")
    with Interruption(then=trainer.stop), closing(TrainProgress(trainer.total_steps, say, bar and is_main)) as progress:
        trainer.stepped = progress.stepped
        trainer.report = lambda record: _report(record, progress)
        record = trainer.train(resume=settings.resume, overwrite=settings.overwrite, before=before)
    return TrainOutcome(
        folder=Path(config.output),
        steps=trainer.step,
        interrupted=trainer.interrupted,
        record=record,
        figures=trainer.figures,
        pictures=tuple(pictures.drawn),
        is_main=is_main,
    )


def _start(config: TrainConfig):
    """The model that the run starts from, its processor, and a line that says which it is."""
    if config.model is None:
        model = random_model(config)
        return model, Sam2Processor.from_config(model.config), "model: random weights"
    model, loaded, line = load(config.model, device="cpu", dtype="fp32")
    model = with_overrides(model, config.model_config)
    processor = Sam2Processor.from_config(model.config)
    processor.image_processor.mask_generation = loaded.image_processor.mask_generation
    return model, processor, line


def _validation(config: TrainConfig, base: Path | None, processor) -> Validation | None:
    """Measures the clips that are held out; None if there are none."""
    if not config.validation:
        return None
    groups: dict[bool, list] = {True: [], False: []}
    for entry in config.validation:
        groups[entry.sampling.num_frames > 1] += open_clips(entry, Path() if base is None else base)
    return Validation(processor=processor, pictures=groups[False], videos=groups[True])


def _report(record: dict, progress: TrainProgress) -> None:
    """Tells of validations; what every step gives is seen in the progress."""
    if "validation" in record:
        progress.say(f"step {record['step']}: {figures_line(record['validation'])}")


def figures_line(figures: dict[str, float]) -> str:
    """Figures of a validation, for people."""
    return ", ".join(f"{name} {value:.1f}" for name, value in figures.items())
