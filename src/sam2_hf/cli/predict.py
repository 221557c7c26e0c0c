"""`sam2-hf predict`: masks in pictures, of prompted objects or of everything."""

import json
from dataclasses import fields, replace
from typing import Annotated

import typer

from sam2_hf.cli import options
from sam2_hf.cli.exit_codes import ExitCode
from sam2_hf.cli.prompt_options import check_prompt_files, prompts_of, read_options
from sam2_hf.cli.resume_command import resume_command
from sam2_hf.errors import PromptError
from sam2_hf.runs.predict_settings import FORMATS, KINDS, OF_EVERYTHING, OF_PROMPTS, PredictSettings

KEEP = "Which masks to keep"
SOURCES, DRAWING = "Sources", "Overlays"
DEFAULTS = PredictSettings(sources=())


def predict(
    context: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SRC...",
            help="Pictures, folders, quoted globs, list.txt or list.csv, - for a list on stdin, addresses, "
            "shard-{000..009}.tar, hub:user/name[:split[:column]], or videos, whose frames are pictures.",
        ),
    ],
    point: Annotated[
        list[str] | None,
        typer.Option(help="[ID:]x,y[,-] in pixels; ',-' marks a point outside.", rich_help_panel=options.PROMPTS),
    ] = None,
    box: Annotated[
        list[str] | None, typer.Option(help="[ID:]x0,y0,x1,y1 in pixels.", rich_help_panel=options.PROMPTS)
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(help="[ID:]FILE, a black and white picture of the object.", rich_help_panel=options.PROMPTS),
    ] = None,
    prompts: options.PromptFile = None,
    normalized: options.Normalized = DEFAULTS.normalized,
    multimask: Annotated[
        bool, typer.Option("--multimask", help="Keep three candidates per object.", rich_help_panel=options.PROMPTS)
    ] = DEFAULTS.multimask,
    max_hole_area: Annotated[
        float,
        typer.Option(min=0, help="Fill holes up to this many low-resolution pixels.", rich_help_panel=options.PROMPTS),
    ] = DEFAULTS.max_hole_area,
    max_sprinkle_area: Annotated[
        float, typer.Option(min=0, help="Remove specks up to this many.", rich_help_panel=options.PROMPTS)
    ] = DEFAULTS.max_sprinkle_area,
    everything: options.Everything = DEFAULTS.everything,
    points_per_side: options.PointsPerSide = DEFAULTS.points_per_side,
    crop_layers: Annotated[
        int,
        typer.Option(min=0, help="Look again in 4, 16, ... parts of the picture.", rich_help_panel=options.EVERYTHING),
    ] = DEFAULTS.crop_layers,
    nms: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Boxes that overlap more are one object; default: the checkpoint's, else 0.7.",
            rich_help_panel=options.EVERYTHING,
        ),
    ] = DEFAULTS.nms,
    min_stability: options.MinStability = DEFAULTS.min_stability,
    min_region_area: Annotated[
        float,
        typer.Option(
            min=0, help="Remove parts and fill holes below this many pixels.", rich_help_panel=options.EVERYTHING
        ),
    ] = DEFAULTS.min_region_area,
    max_det: Annotated[
        int, typer.Option(min=1, help="At most so many objects, the best ones.", rich_help_panel=options.EVERYTHING)
    ] = DEFAULTS.max_det,
    min_iou: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Least estimated IoU; default: 0, and with --everything the checkpoint's, else 0.8.",
            rich_help_panel=KEEP,
        ),
    ] = DEFAULTS.min_iou,
    min_area: Annotated[
        int, typer.Option(min=0, help="Least area in pixels.", rich_help_panel=KEEP)
    ] = DEFAULTS.min_area,
    recursive: Annotated[
        bool,
        typer.Option("--recursive/--no-recursive", help="Look into the folders of a folder.", rich_help_panel=SOURCES),
    ] = DEFAULTS.recursive,
    start: Annotated[
        int, typer.Option(min=0, help="First frame of a video.", rich_help_panel=SOURCES)
    ] = DEFAULTS.start,
    end: Annotated[
        int | None, typer.Option(min=1, help="Frame of a video to stop before.", rich_help_panel=SOURCES)
    ] = DEFAULTS.end,
    stride: Annotated[
        int, typer.Option(min=1, help="Take every N-th frame of it.", rich_help_panel=SOURCES)
    ] = DEFAULTS.stride,
    workers: Annotated[
        int, typer.Option(min=0, help="Threads that read pictures ahead.", rich_help_panel=SOURCES)
    ] = DEFAULTS.workers,
    save: Annotated[
        list[str] | None,
        typer.Option(
            help=f"What to write, of {', '.join(KINDS)}; default: {', '.join(DEFAULTS.save)}.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help=f"Label files too, of {', '.join(FORMATS)}.", rich_help_panel=options.OUTPUT),
    ] = None,
    polygons: Annotated[
        bool,
        typer.Option("--polygons", help="Polygons in COCO and LabelMe files.", rich_help_panel=options.OUTPUT),
    ] = DEFAULTS.polygons,
    alpha: Annotated[
        float, typer.Option(min=0, max=1, help="How opaque masks are drawn.", rich_help_panel=DRAWING)
    ] = DEFAULTS.alpha,
    palette: Annotated[
        str | None, typer.Option(help="Colours of objects, as #ff0000,#00ff00.", rich_help_panel=DRAWING)
    ] = None,
    max_size: Annotated[
        int | None, typer.Option(min=16, help="Longest side of overlays in pixels.", rich_help_panel=DRAWING)
    ] = DEFAULTS.max_size,
    show: Annotated[
        bool, typer.Option("--show", help="Open every overlay in a window.", rich_help_panel=DRAWING)
    ] = DEFAULTS.show,
    batch_size: options.BatchSize = DEFAULTS.batch_size,
    object_batch: options.ObjectBatch = DEFAULTS.object_batch,
    model: options.Model = DEFAULTS.model,
    revision: options.Revision = DEFAULTS.revision,
    device: options.Device = DEFAULTS.device,
    dtype: options.Dtype = DEFAULTS.dtype,
    seed: options.Seed = DEFAULTS.seed,
    offline: options.Offline = DEFAULTS.offline,
    output: options.Output = DEFAULTS.output,
    overwrite: options.Overwrite = DEFAULTS.overwrite,
    resume: options.Resume = DEFAULTS.resume,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    as_json: options.Json = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Segment objects in pictures: from points, boxes or masks, or everything there is.

    Example: sam2-hf predict photo.jpg --point 500,375 --box 2:10,20,300,400 -o out

    Example: sam2-hf predict photos/ --recursive --everything --points-per-side 16 --format coco -o out
    """
    _check_together(context)
    names = {entry.name for entry in fields(PredictSettings)} - {"sources", "save", "formats", "palette"}
    given = {name: value for name, value in context.params.items() if name in names}
    settings = PredictSettings(
        **given,
        sources=tuple(sources),
        save=options.listed(save) or DEFAULTS.save,
        formats=options.listed(formats),
        palette=None if palette is None else _palette(palette),
    )
    written = read_options(point or [], box or [], mask or [])
    if written and prompts is not None:
        raise PromptError("--prompts is a file that says everything; leave out --point, --box and --mask")
    settings.check_asked(bool(written) or prompts is not None)
    settings.check_sources()
    check_prompt_files(prompts)
    settings = replace(settings, requests=_requests(written, prompts, normalized))
    read = tuple(file for file in (prompts, *(text.partition(":")[2] or text for text in mask or ())) if file)
    if dry_run:
        _list_run(settings, read, as_json)
        return
    from sam2_hf.runs.predict import outcome_lines, run_plan
    from sam2_hf.runs.predict_plan import plan_of

    def say(line: str) -> None:
        options.say(line, quiet)

    outcome = run_plan(plan_of(settings, read=read), say=say, bar=not (quiet or no_progress), verbose=verbose)
    if as_json:
        typer.echo(json.dumps(_summary(outcome)))
    else:
        finished = outcome.counts["done"] + outcome.counts["resumed"]
        typer.echo(f"{finished} of {outcome.counts['pictures']} pictures segmented, written to {outcome.folder}")
    for line in outcome_lines(outcome):
        say(line)
    _end(outcome, say)


def _check_together(context: typer.Context) -> None:
    """Options that mean nothing beside each other."""
    everything = context.params["everything"]
    for name in OF_PROMPTS if everything else OF_EVERYTHING:
        if context.get_parameter_source(name).name == "COMMANDLINE":
            flag = name.replace("_", "-")
            reason = "goes with prompts, not with --everything" if everything else "goes with --everything"
            raise typer.BadParameter(f"--{flag} {reason}")


def _requests(written: list, prompts: str | None, normalized: bool) -> tuple:
    """What the options ask for in every picture; nothing for nothing.

    Raises:
        PromptError: what cannot be meant.
    """
    if prompts is not None:
        from sam2_hf.pipelines.prompt_file import read_picture_prompts

        return tuple(read_picture_prompts(prompts, normalized))
    return tuple(prompts_of(written))


def _palette(text: str) -> tuple[str, ...]:
    from sam2_hf.pipelines.writing.drawing import as_colour

    colours = tuple(colour.strip() for colour in text.split(","))
    try:
        for colour in colours:
            as_colour(colour)
    except ValueError as error:
        raise typer.BadParameter(f"--palette takes colours such as #ff0000,blue, got {text!r} ({error})") from error
    return colours


def _list_run(settings: PredictSettings, read: tuple[str, ...], as_json: bool) -> None:
    """What a run would read and write."""
    from sam2_hf.runs.predict_plan import plan_of

    plan = plan_of(settings, read=read, reserve=False)
    plan.check()
    entries, length = plan.entries(), plan.pictures.length
    if as_json:
        record = {"output": str(plan.folder.path), "pictures": length, "inputs": entries, "dry_run": True}
        typer.echo(json.dumps(record))
        return
    for entry in entries:
        typer.echo(f"{entry['source']} -> {', '.join(entry['files'])}")
    count = length if length is not None else f"{len(entries)} and what else streams in"
    typer.echo(f"pictures: {count}; nothing was written")


def _summary(outcome) -> dict:
    """For `--json`."""
    counts = outcome.counts
    return {
        "output": str(outcome.folder),
        "pictures": counts["pictures"],
        "done": counts["done"],
        "resumed": counts["resumed"],
        "objects": counts["objects"],
        "classes": outcome.classes,
        "timings_ms": {stage: round(spent, 3) for stage, spent in outcome.timings.items()},
        "failed": outcome.failed,
        "status": outcome.status,
    }


def _end(outcome, say) -> None:
    """How to go on, and the exit code."""
    if outcome.status == "interrupted":
        say(f"interrupted; go on with: {resume_command(outcome.folder)}")
        raise typer.Exit(ExitCode.INTERRUPTED)
    if not outcome.counts["pictures"]:
        say("the sources gave no picture")
        raise typer.Exit(ExitCode.NO_INPUT)
    if outcome.failed:
        raise typer.Exit(ExitCode.SOME_FAILED)
