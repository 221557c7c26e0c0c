"""`sam2-hf eval`: how good a model's masks are, on a data set with true masks."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sam2_hf.cli import options
from sam2_hf.cli.eval_job import EvaluationJob
from sam2_hf.cli.exit_codes import ExitCode
from sam2_hf.cli.run_folder import next_folder

VIDEO_KINDS = {"davis": "davis", "mose": "davis", "lvos": "davis", "ytvos": "davis", "sav": "sav"}
KINDS = {**VIDEO_KINDS, "masks": "masks", "folder": "masks", "coco": "coco", "sa1b": "sa1b", "labelme": "labelme"}
PROTOCOLS = ("semi", "clicks", "box", "everything", "interactive-offline", "interactive-online", "metrics", "speed")
PROMPTS = {"1": "1-click", "3": "3-click", "5": "5-click"} | {
    kind: kind for kind in ("mask", "box", "1-click", "3-click", "5-click")
}
NAMES = "names, with commas; the name of a folder stands for all in it, @FILE for the names in a file."


def evaluate(
    root: Annotated[list[str], typer.Option(help="Folder of the data set; repeat it for several.")],
    dataset: Annotated[str, typer.Option(help=f"Its kind: {', '.join(KINDS)}.")] = "davis",
    protocol: Annotated[str, typer.Option(help=f"What to measure: {', '.join(PROTOCOLS)}.")] = "semi",
    prompt: Annotated[str, typer.Option(help="semi: mask, box, 1, 3 or 5 (clicks) where an object appears.")] = "mask",
    all_masks: Annotated[bool, typer.Option("--all-masks", help="semi: every true mask is a prompt.")] = False,
    max_clicks: Annotated[int, typer.Option(min=1, help="clicks: per object; 20 for NoC.")] = 5,
    points_per_side: Annotated[int, typer.Option(min=1, help="everything: clicks along each side.")] = 32,
    min_iou: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="everything: least estimated IoU; default: the checkpoint's, else 0.8."),
    ] = None,
    min_stability: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="everything: least stability; default: the checkpoint's, else 0.95."),
    ] = None,
    pred: Annotated[str | None, typer.Option(help="metrics: folder of masks to score; no model is loaded.")] = None,
    upstream: Annotated[bool, typer.Option("--upstream", help="Track as the released numbers were made.")] = False,
    fill_hole_area: Annotated[int | None, typer.Option(min=0, help="Fill holes of up to this many pixels.")] = None,
    keep_first_last: Annotated[bool, typer.Option("--keep-first-last", help="First and last frames count.")] = False,
    keep_void: Annotated[bool, typer.Option("--keep-void", help="Value 255 is an object like any other.")] = False,
    per_frame: Annotated[bool, typer.Option("--per-frame", help="Keep scores of single frames.")] = False,
    baselines: Annotated[bool, typer.Option("--baselines", help="Score what is had without a model too.")] = False,
    passes: Annotated[int, typer.Option(min=1, help="speed: passes through the video; a fifth warms up.")] = 25,
    objects: Annotated[str, typer.Option(help="speed: numbers of objects tracked together.")] = "1,2,4,8,16",
    stream: Annotated[str, typer.Option(help="speed: frames of a stream after which memory is read.")] = "100,1000",
    compiled: Annotated[bool, typer.Option("--compile", help="speed: measure compiled modules too.")] = False,
    clips: Annotated[list[str] | None, typer.Option(help=f"Only these clips: {NAMES}")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help=f"Not these clips: {NAMES}")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many clips.")] = None,
    strict: Annotated[bool, typer.Option("--strict/--no-strict", help="A clip that is left out is exit 4.")] = True,
    fail_under: Annotated[str | None, typer.Option(help="X or MEASURE=X: below it the exit code is 5.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="metrics: processes that share the videos.")] = 1,
    shard: Annotated[str | None, typer.Option(help="k/N: do every N-th clip from k on; jobs share --output.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run in --output.")] = False,
    model: options.Model = "auto",
    revision: options.Revision = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    output: options.Output = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    as_json: options.Json = False,
    offline: options.Offline = False,
) -> None:
    """Measure masks against the truth: videos from one prompt, pictures from clicks or boxes, or masks that exist.

    Example: sam2-hf eval --dataset davis --root davis --protocol semi --model facebook/sam2.1-hiera-tiny -o out
    """
    _check_values(dataset, protocol, prompt)
    _check_together(root, dataset, protocol, pred, shard, overwrite)
    measure, bar = _fail_under(fail_under, protocol)
    folder = next_folder("eval") if output is None else Path(output)
    given = {"root": root, "dataset": KINDS[dataset], "protocol": protocol, "prompt": PROMPTS[prompt], "pred": pred}
    given |= {"all_masks": all_masks, "max_clicks": max_clicks, "upstream": upstream, "fill_hole_area": fill_hole_area}
    given |= {"keep_first_last": keep_first_last, "keep_void": keep_void, "per_frame": per_frame}
    given |= {"baselines": baselines, "clips": _names(clips), "exclude": _names(exclude), "limit": limit}
    given |= {"points_per_side": points_per_side, "min_iou": min_iou, "min_stability": min_stability}
    given |= {"model": model, "revision": revision, "dtype": dtype}
    given |= {"passes": passes, "objects": objects, "stream": stream, "compile": compiled}
    job = EvaluationJob(folder, given, quiet=quiet, overwrite=overwrite, resume=resume)
    where = {"revision": revision, "device": device, "dtype": dtype, "offline": offline}
    if protocol == "metrics":
        results = job.score(workers)
    elif protocol == "speed":
        results = job.time(where)
    else:
        results = job.run(shard, where)
    if results is None:  # another process, or other jobs, will report
        return
    _report(results, folder, quiet=quiet, as_json=as_json)
    if results["missing"] and strict:
        raise typer.Exit(ExitCode.SOME_FAILED)
    if bar is not None and not _reaches(results["global"], measure, bar):
        raise typer.Exit(ExitCode.BELOW)


def _check_values(dataset: str, protocol: str, prompt: str) -> None:
    for name, value, known in (
        ("dataset", dataset, KINDS),
        ("protocol", protocol, PROTOCOLS),
        ("prompt", prompt, PROMPTS),
    ):
        if value not in known:
            raise typer.BadParameter(f"--{name} takes {', '.join(known)}, got {value!r}")


def _check_together(
    root: list[str], dataset: str, protocol: str, pred: str | None, shard: str | None, overwrite: bool
) -> None:
    if protocol not in ("clicks", "box", "everything") and dataset not in VIDEO_KINDS:
        raise typer.BadParameter(f"--protocol {protocol} needs videos: --dataset {', '.join(VIDEO_KINDS)}")
    if (protocol == "metrics") != (pred is not None):
        raise typer.BadParameter("--protocol metrics and --pred FOLDER belong together")
    if protocol == "metrics" and len(root) > 1:
        raise typer.BadParameter("--protocol metrics takes one --root; score data sets one by one")
    if shard is not None and overwrite:
        raise typer.BadParameter("--overwrite with --shard would remove what the other jobs have done")


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


def _names(values: list[str] | None) -> list[str]:
    parts = [part.strip() for value in values or [] for part in value.split(",")]
    return [name for part in parts for name in (_names_in(part[1:]) if part.startswith("@") else [part]) if name]


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
