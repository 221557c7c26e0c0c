"""`sam2-hf train`: train from a configuration file, or fine-tune on a folder with one command."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sam2_hf.cli import options
from sam2_hf.cli.exit_codes import ExitCode
from sam2_hf.cli.resume_command import resume_command
from sam2_hf.errors import ConfigError
from sam2_hf.runs.train_settings import TrainSettings

DEFAULTS = TrainSettings()
DATASETS = ("masks", "davis", "sav", "coco", "labelme", "sa1b")  # of `sam2_hf.datasets.registry`
PRESETS = ("image", "video", "video-small-gpu", "decoder", "lora")  # of `sam2_hf.training.config`


def train(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="JSON file of the run.")] = None,
    dataset: Annotated[str | None, typer.Option(help=f"Instead: {', '.join(DATASETS)}.")] = DEFAULTS.dataset,
    root: Annotated[
        Path | None, typer.Option(help="Folder of the data; of a file, where its paths start.")
    ] = DEFAULTS.root,
    preset: Annotated[str, typer.Option(help=f"{', '.join(PRESETS)}.")] = DEFAULTS.preset,
    include: Annotated[list[str] | None, typer.Option(help="Only clips of these names; * stands for anything.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Not clips of these names.")] = None,
    hold_out: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of the clips to validate on.")
    ] = DEFAULTS.hold_out,
    validate_every: Annotated[
        int | None, typer.Option(min=0, help="Epochs between two validations; 0: never.")
    ] = DEFAULTS.validate_every,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs.")] = DEFAULTS.epochs,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips of a batch.")] = DEFAULTS.batch_size,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of everything but the image encoder.")
    ] = DEFAULTS.learning_rate,
    image_size: Annotated[int | None, typer.Option(help="Side of the model's input.")] = DEFAULTS.image_size,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Stop after so many steps.")] = DEFAULTS.max_steps,
    num_processes: Annotated[int, typer.Option(min=1, help="Processes on this machine, through torchrun.")] = 1,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Where to start; default: the embedded one.")
    ] = DEFAULTS.model,
    device: options.Device = DEFAULTS.device,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Mixed precision: auto, fp32 (none), bf16 or fp16; default: as the file says, else auto.",
            callback=options.known_dtype,
            rich_help_panel=options.MODEL,
        ),
    ] = DEFAULTS.dtype,
    output: options.Output = DEFAULTS.output,
    overwrite: options.Overwrite = DEFAULTS.overwrite,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --output.")] = DEFAULTS.resume,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
    verbose: options.Verbose = False,
    as_json: options.Json = False,
) -> None:
    """Train on pictures and clips with masks.

    Example: sam2-hf train --dataset masks --root cells --hold-out 0.25 --output runs/mine
    """
    if dataset is not None and dataset not in DATASETS:
        raise ConfigError(f"there is no data set kind {dataset!r}; kinds are {', '.join(DATASETS)}")
    if preset not in PRESETS:
        raise ConfigError(f"there is no preset {preset!r}; presets are {', '.join(PRESETS)}")
    settings = TrainSettings(
        config=None if config is None else str(config),
        dataset=dataset,
        root=None if root is None else str(root),
        preset=preset,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        hold_out=hold_out,
        validate_every=validate_every,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        image_size=image_size,
        max_steps=max_steps,
        device=device,
        dtype=dtype,
        model=model,
        output=output,
        overwrite=overwrite,
        resume=resume,
    )
    settings.check()
    if num_processes > 1:
        raise typer.Exit(_through_torchrun(num_processes, settings.chosen_output()))

    from sam2_hf.runs.train import figures_line
    from sam2_hf.runs.train import train as run

    outcome = run(settings, say=lambda line: options.say(line, quiet), bar=not (quiet or no_progress))
    if not outcome.is_main:
        return
    if outcome.interrupted:
        line = f"interrupted after {outcome.steps} steps; go on with: {resume_command(outcome.folder)}"
        options.say(line, quiet)
        raise typer.Exit(ExitCode.INTERRUPTED)
    if outcome.figures:
        options.say(f"after: {figures_line(outcome.figures)}", quiet)
    if outcome.pictures:
        options.say(f"shown in: {', '.join(map(str, outcome.pictures))}", quiet)
    summary = {"output": str(outcome.folder), "steps": outcome.steps, **outcome.record}
    summary["validation"] = outcome.figures
    typer.echo(json.dumps(summary) if as_json else f"{outcome.steps} steps, model in {outcome.folder}/model")


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
