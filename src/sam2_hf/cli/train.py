"""`sam2-hf train`: train from a configuration file, or fine-tune on a folder with one command."""

import json
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from sam2_hf.cli import options
from sam2_hf.cli.exit_codes import ExitCode
from sam2_hf.cli.resume_command import resume_command
from sam2_hf.runs.settings import next_folder


def train(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="JSON file of the run.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Instead: masks, davis, sav, coco, labelme or sa1b.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the data; of a file, where its paths start.")] = None,
    preset: Annotated[str, typer.Option(help="image, video, video-small-gpu, decoder or lora.")] = "image",
    include: Annotated[list[str] | None, typer.Option(help="Only clips of these names; * stands for anything.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Not clips of these names.")] = None,
    hold_out: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the clips to validate on.")] = 0.0,
    validate_every: Annotated[int | None, typer.Option(min=0, help="Epochs between two validations; 0: never.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips of a batch.")] = 1,
    learning_rate: Annotated[float | None, typer.Option(help="Of everything but the image encoder.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of the model's input.")] = None,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Stop after so many steps.")] = None,
    num_processes: Annotated[int, typer.Option(min=1, help="Processes on this machine, through torchrun.")] = 1,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Where to start; default: the embedded one.")
    ] = None,
    output: options.Output = None,
    overwrite: options.Overwrite = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --output.")] = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    as_json: options.Json = False,
) -> None:
    """Train on pictures and clips with masks.

    Example: sam2-hf train --dataset masks --root cells --hold-out 0.25 --output runs/mine
    """
    if (config is None) == (dataset is None):
        raise typer.BadParameter("pass either --config FILE, or --dataset KIND with --root FOLDER")
    if dataset is not None and root is None:
        raise typer.BadParameter("--dataset needs --root, the folder it is in")
    if resume and overwrite:
        raise typer.BadParameter("--resume goes on with a run, --overwrite removes it; pass one of them")
    if config is None and output is None:
        if resume:
            raise typer.BadParameter("--resume needs --output, the folder of the run to go on with")
        output = str(next_folder("train"))
    if num_processes > 1:
        raise typer.Exit(_through_torchrun(num_processes, output))

    from sam2_hf.training.config import fine_tuning, read_config

    given = {
        "model": model,
        "output": output,
        "epochs": epochs,
        "max_steps": max_steps,
        "validate_every": validate_every,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if config is not None:
        settings = read_config(config, **given)
    else:
        settings = fine_tuning(
            preset,
            kind=dataset,
            root=str(root),
            include=tuple(include or ()),
            exclude=tuple(exclude or ()),
            batch_size=batch_size,
            learning_rate=learning_rate,
            image_size=image_size,
            **{"model": "embedded", **given},
        )
    base = root if config is not None else None
    _run(settings, base, hold_out, resume=resume, overwrite=overwrite, quiet=quiet, as_json=as_json)


def _run(
    settings, base: Path | None, hold_out: float, *, resume: bool, overwrite: bool, quiet: bool, as_json: bool
) -> None:
    from transformers.utils import logging

    from sam2_hf.training.build import build_sources, build_validation, hold_out_clips
    from sam2_hf.training.trainer import Sam2Trainer

    logging.disable_progress_bar()
    network, processor, line = _start(settings)
    options.say(line, quiet)
    if hold_out:
        settings, held = hold_out_clips(settings, hold_out, base)
        options.say(f"held out: {', '.join(held)}", quiet)
    sources = build_sources(settings, base)
    validate = _validation(settings, base, processor)
    trainer = Sam2Trainer(
        network,
        settings,
        sources,
        validation=build_validation(settings, base),
        validate=validate,
        processor=processor,
        report=lambda record: options.say(_line(record, trainer.total_steps), quiet),
    )
    is_main = trainer.accelerator.is_main_process
    if validate is not None and not resume and is_main:
        options.say(f"before: {_figures(validate(network.eval()))}", quiet)
    options.say(f"{trainer.total_steps} steps to {settings.output}", quiet or not is_main)
    with _signals(trainer):
        record = trainer.train(resume=resume, overwrite=overwrite)
    if not is_main:
        return
    if trainer.interrupted:
        line = f"interrupted after {trainer.step} steps; go on with: {resume_command(Path(settings.output))}"
        options.say(line, quiet)
        raise typer.Exit(ExitCode.INTERRUPTED)
    if trainer.figures:
        options.say(f"after: {_figures(trainer.figures)}", quiet)
    summary = {"output": settings.output, "steps": trainer.step, **record, "validation": trainer.figures}
    typer.echo(json.dumps(summary) if as_json else f"{trainer.step} steps, model in {settings.output}/model")


def _start(settings):
    """The model that the run starts from, its processor, and a line that says which it is."""
    from sam2_hf.checkpoints.loading import load
    from sam2_hf.processing.processor import Sam2Processor
    from sam2_hf.training.build import random_model, with_overrides

    if settings.model is None:
        model = random_model(settings)
        return model, Sam2Processor.from_config(model.config), "model: random weights"
    model, loaded, line = load(settings.model, device="cpu", dtype="fp32")
    model = with_overrides(model, settings.model_config)
    processor = Sam2Processor.from_config(model.config)
    processor.image_processor.mask_generation = loaded.image_processor.mask_generation
    return model, processor, line


def _validation(settings, base: Path | None, processor):
    """Measures the clips that are held out; None if there are none."""
    if not settings.validation:
        return None
    from sam2_hf.evaluation.validation import Validation
    from sam2_hf.training.build import open_clips

    groups: dict[bool, list] = {True: [], False: []}
    for entry in settings.validation:
        groups[entry.sampling.num_frames > 1] += open_clips(entry, Path() if base is None else base)
    return Validation(processor=processor, pictures=groups[False], videos=groups[True])


@contextmanager
def _signals(trainer):
    """The first Ctrl-C or SIGTERM lets the step be finished and saved, the second stops at once."""
    requested = []

    def note(number, frame):
        if requested:
            raise KeyboardInterrupt
        requested.append(number)
        trainer.stop()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _line(record: dict, total: int) -> str:
    """One record of the log, for people."""
    figures = {"loss": "loss_per_step", "rate": "learning_rate", "clips/s": "clips_per_second"}
    shown = ", ".join(f"{name} {record[key]:.3g}" for name, key in figures.items())
    return f"step {record['step']} of {total}: {shown}"


def _figures(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in figures.items())


def _through_torchrun(num_processes: int, output: str | None) -> int:
    """The same command again in several processes, which share a folder."""
    import subprocess
    import sys

    arguments, skip = [], False
    for argument in sys.argv[1:]:
        if skip or argument.startswith("--num-processes"):
            skip = argument == "--num-processes"
            continue
        arguments.append(argument)
    if output is not None:
        arguments += ["--output", output]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_processes}"]
    code = subprocess.run([*launcher, "-m", "sam2_hf.cli.main", *arguments], check=False).returncode
    return code if code >= 0 else int(ExitCode.INTERRUPTED)
