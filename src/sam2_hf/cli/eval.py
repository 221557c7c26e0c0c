"""`sam2-hf eval`: how good a model's masks are, on a data set with true masks."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from sam2_hf.cli import options
from sam2_hf.cli.exit_codes import ExitCode
from sam2_hf.runs.evaluate_settings import KINDS, PROTOCOLS, EvaluateSettings

DEFAULTS = EvaluateSettings(roots=("",))
NAMES_OF_FIELDS = {entry.name for entry in fields(EvaluateSettings)}
NAMES = "names, with commas; the name of a folder stands for all in it, @FILE for the names in a file."


def evaluate(
    context: typer.Context,
    root: Annotated[list[str], typer.Option(help="Folder of the data set; repeat it for several.")],
    dataset: Annotated[str, typer.Option(help=f"Its kind: {', '.join(KINDS)}.")] = DEFAULTS.dataset,
    protocol: Annotated[str, typer.Option(help=f"What to measure: {', '.join(PROTOCOLS)}.")] = DEFAULTS.protocol,
    prompt: Annotated[
        str, typer.Option(help="semi: mask, box, 1, 3 or 5 (clicks) where an object appears.")
    ] = DEFAULTS.prompt,
    all_masks: Annotated[
        bool, typer.Option("--all-masks", help="semi: every true mask is a prompt.")
    ] = DEFAULTS.all_masks,
    max_clicks: Annotated[
        int, typer.Option(min=1, metavar="N", help="clicks: per object; 20 for NoC.")
    ] = DEFAULTS.max_clicks,
    points_per_side: Annotated[
        int, typer.Option(min=1, metavar="N", help="everything: clicks along each side.")
    ] = DEFAULTS.points_per_side,
    min_iou: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, metavar="X", help="everything: least estimated IoU; default: the checkpoint's, else 0.8."
        ),
    ] = DEFAULTS.min_iou,
    min_stability: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, metavar="X", help="everything: least stability; default: the checkpoint's, else 0.95."
        ),
    ] = DEFAULTS.min_stability,
    pred: Annotated[
        str | None, typer.Option(help="metrics: folder of masks to score; no model is loaded.")
    ] = DEFAULTS.pred,
    upstream: Annotated[
        bool, typer.Option("--upstream", help="Track as the released numbers were made.")
    ] = DEFAULTS.upstream,
    fill_hole_area: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Fill holes of up to this many pixels.")
    ] = DEFAULTS.fill_hole_area,
    keep_first_last: Annotated[
        bool, typer.Option("--keep-first-last", help="First and last frames count.")
    ] = DEFAULTS.keep_first_last,
    keep_void: Annotated[
        bool, typer.Option("--keep-void", help="Value 255 is an object like any other.")
    ] = DEFAULTS.keep_void,
    per_frame: Annotated[bool, typer.Option("--per-frame", help="Keep scores of single frames.")] = DEFAULTS.per_frame,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Score what is had without a model too.")
    ] = DEFAULTS.baselines,
    passes: Annotated[
        int, typer.Option(min=1, metavar="N", help="speed: passes through the video; a fifth warms up.")
    ] = DEFAULTS.passes,
    objects: Annotated[str, typer.Option(help="speed: numbers of objects tracked together.")] = ",".join(
        map(str, DEFAULTS.objects)
    ),
    stream: Annotated[str, typer.Option(help="speed: frames of a stream after which memory is read.")] = ",".join(
        map(str, DEFAULTS.stream)
    ),
    compiled: Annotated[
        bool, typer.Option("--compile", help="speed: measure compiled modules too.")
    ] = DEFAULTS.compiled,
    clips: Annotated[list[str] | None, typer.Option(help=f"Only these clips: {NAMES}")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help=f"Not these clips: {NAMES}")] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="At most so many clips.")] = DEFAULTS.limit,
    strict: Annotated[bool, typer.Option("--strict/--no-strict", help="A clip that is left out is exit 4.")] = True,
    fail_under: Annotated[str | None, typer.Option(help="X or MEASURE=X: below it the exit code is 5.")] = None,
    workers: Annotated[
        int, typer.Option(min=1, metavar="N", help="metrics: processes that share the videos.")
    ] = DEFAULTS.workers,
    shard: Annotated[
        str | None, typer.Option(help="k/N: do every N-th clip from k on; jobs share --output.")
    ] = DEFAULTS.shard,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run in --output.")
    ] = DEFAULTS.resume,
    model: options.Model = DEFAULTS.model,
    revision: options.Revision = DEFAULTS.revision,
    device: options.Device = DEFAULTS.device,
    dtype: options.Dtype = DEFAULTS.dtype,
    output: options.Output = DEFAULTS.output,
    overwrite: options.Overwrite = DEFAULTS.overwrite,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    as_json: options.Json = False,
    offline: options.Offline = DEFAULTS.offline,
) -> None:
    """Measure masks against the truth: videos from one prompt, pictures from clicks or boxes, or masks that exist.

    Example: sam2-hf eval --dataset davis --root davis --protocol semi --model facebook/sam2.1-hiera-tiny -o scores
    """
    given = {name: value for name, value in context.params.items() if name in NAMES_OF_FIELDS}
    lists = {"roots": tuple(root), "clips": _names(clips), "exclude": _names(exclude)}
    lists |= {"objects": _numbers("objects", objects), "stream": _numbers("stream", stream)}
    settings = EvaluateSettings(**{**given, **lists})
    settings.check_roots()
    measure, bar = _fail_under(fail_under, protocol)

    from sam2_hf.runs.evaluate import evaluate as run

    results, folder = run(settings, lambda line: options.say(line, quiet))
    if results is None:  # another process, or other jobs, will report
        return
    _report(results, folder, quiet=quiet, as_json=as_json)
    if results["missing"] and strict:
        raise typer.Exit(ExitCode.SOME_FAILED)
    if bar is not None and not _reaches(results["global"], measure, bar):
        raise typer.Exit(ExitCode.BELOW)


def _fail_under(text: str | None, protocol: str) -> tuple[str, float | None]:
    """Name of the measure and the value it must reach."""
    from sam2_hf.evaluation.protocols import HEADLINES

    if text is None:
        return HEADLINES[protocol], None
    name, is_named, value = text.rpartition("=")
    try:
        return (name if is_named else HEADLINES[protocol]), float(value)
    except ValueError as error:
        raise typer.BadParameter(f"--fail-under takes a number or MEASURE=number, got {text!r}") from error


def _reaches(overall: dict, measure: str, bar: float) -> bool:
    if not overall.get("objects", 1):
        return False  # nothing was measured
    if measure not in overall:
        raise typer.BadParameter(f"--fail-under: there is no measure {measure!r}; there are {', '.join(overall)}")
    return overall[measure] is not None and overall[measure] >= bar


def _report(results: dict, folder: Path, *, quiet: bool, as_json: bool) -> None:
    """The summary on stdout, what was left out on stderr."""
    from sam2_hf.evaluation.report import warnings_of

    for line in warnings_of(results):
        options.say(line, quiet)
    if as_json:
        typer.echo(json.dumps({"output": str(folder), "global": results["global"], "missing": results["missing"]}))
        return
    for name, value in results["global"].items():
        if not isinstance(value, (dict, list)):
            typer.echo(f"{name}: {value:.2f}" if isinstance(value, float) else f"{name}: {value}")
    typer.echo(f"written to {folder}")


def _names(values: list[str] | None) -> tuple[str, ...]:
    parts = [part.strip() for value in values or [] for part in value.split(",")]
    return tuple(name for part in parts for name in (_names_in(part[1:]) if part.startswith("@") else [part]) if name)


def _names_in(file: str) -> list[str]:
    """One name a line, as recipes of training list what they hold out."""
    try:
        names = Path(file).read_text().split()
    except OSError as error:
        message = f"@{file}: cannot be read ({error.strerror}); it is a file with one name a line"
        raise typer.BadParameter(message) from error
    if not names:
        raise typer.BadParameter(f"@{file}: holds no name")
    return names


def _numbers(name: str, text: str) -> tuple[int, ...]:
    """An option of whole numbers above 0 with commas."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"--{name} takes numbers with commas, got {text!r}")
    return tuple(int(part) for part in parts)
