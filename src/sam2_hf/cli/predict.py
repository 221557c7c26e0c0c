"""`sam2-hf predict`: masks in pictures, of prompted objects or of everything."""

import json
from typing import Annotated

import typer

from sam2_hf.cli import options
from sam2_hf.cli import predict_plan as plan
from sam2_hf.cli.exit_codes import ExitCode
from sam2_hf.cli.predict_job import PredictJob
from sam2_hf.cli.predict_outputs import FORMATS, KINDS
from sam2_hf.cli.run_folder import check_folder, resume_command
from sam2_hf.cli.run_folder import next_folder as next_folder  # other commands find it here

KEEP = "Which masks to keep"
SOURCES, DRAWING = "Sources", "Overlays"
ONLY_EVERYTHING = ("points_per_side", "crop_layers", "nms", "min_stability", "min_region_area", "max_det")
ONLY_PROMPTS = ("normalized", "multimask", "max_hole_area", "max_sprinkle_area")
FREE_TO_CHANGE = (  # when a run is resumed
    *("output", "overwrite", "resume", "dry_run", "quiet", "verbose", "as_json", "no_progress", "show", "workers"),
    *("device", "offline", "batch_size", "object_batch"),
)


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
    normalized: options.Normalized = False,
    multimask: Annotated[
        bool, typer.Option("--multimask", help="Keep three candidates per object.", rich_help_panel=options.PROMPTS)
    ] = False,
    max_hole_area: Annotated[
        float,
        typer.Option(min=0, help="Fill holes up to this many low-resolution pixels.", rich_help_panel=options.PROMPTS),
    ] = 0.0,
    max_sprinkle_area: Annotated[
        float, typer.Option(min=0, help="Remove specks up to this many.", rich_help_panel=options.PROMPTS)
    ] = 0.0,
    everything: options.Everything = False,
    points_per_side: options.PointsPerSide = 32,
    crop_layers: Annotated[
        int,
        typer.Option(min=0, help="Look again in 4, 16, ... parts of the picture.", rich_help_panel=options.EVERYTHING),
    ] = 0,
    nms: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Boxes that overlap more are one object; default: the checkpoint's, else 0.7.",
            rich_help_panel=options.EVERYTHING,
        ),
    ] = None,
    min_stability: options.MinStability = None,
    min_region_area: Annotated[
        float,
        typer.Option(
            min=0, help="Remove parts and fill holes below this many pixels.", rich_help_panel=options.EVERYTHING
        ),
    ] = 0.0,
    max_det: Annotated[
        int, typer.Option(min=1, help="At most so many objects, the best ones.", rich_help_panel=options.EVERYTHING)
    ] = 300,
    min_iou: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Least estimated IoU; default: 0, and with --everything the checkpoint's, else 0.8.",
            rich_help_panel=KEEP,
        ),
    ] = None,
    min_area: Annotated[int, typer.Option(min=0, help="Least area in pixels.", rich_help_panel=KEEP)] = 0,
    recursive: Annotated[
        bool,
        typer.Option("--recursive/--no-recursive", help="Look into the folders of a folder.", rich_help_panel=SOURCES),
    ] = False,
    start: Annotated[int, typer.Option(min=0, help="First frame of a video.", rich_help_panel=SOURCES)] = 0,
    end: Annotated[
        int | None, typer.Option(min=1, help="Frame of a video to stop before.", rich_help_panel=SOURCES)
    ] = None,
    stride: Annotated[int, typer.Option(min=1, help="Take every N-th frame of it.", rich_help_panel=SOURCES)] = 1,
    workers: Annotated[int, typer.Option(min=0, help="Threads that read pictures ahead.", rich_help_panel=SOURCES)] = 2,
    save: Annotated[
        list[str] | None,
        typer.Option(
            help=f"What to write, of {','.join(KINDS)}; default: overlay,json.", rich_help_panel=options.OUTPUT
        ),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help=f"Label files too, of {','.join(FORMATS)}.", rich_help_panel=options.OUTPUT),
    ] = None,
    alpha: Annotated[
        float, typer.Option(min=0, max=1, help="How opaque masks are drawn.", rich_help_panel=DRAWING)
    ] = 0.5,
    palette: Annotated[
        str | None, typer.Option(help="Colours of objects, as #ff0000,#00ff00.", rich_help_panel=DRAWING)
    ] = None,
    max_size: Annotated[
        int | None, typer.Option(min=16, help="Longest side of overlays in pixels.", rich_help_panel=DRAWING)
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Open every overlay in a window.", rich_help_panel=DRAWING)
    ] = False,
    batch_size: options.BatchSize = 1,
    object_batch: options.ObjectBatch = 64,
    model: options.Model = "auto",
    revision: options.Revision = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    seed: options.Seed = 0,
    offline: options.Offline = False,
    output: options.Output = None,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
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
    chosen = context.params
    _check_together(context)
    requests = plan.requests_of(chosen)
    pictures = plan.pictures_of(chosen)
    plan.check_prompts(requests, pictures, everything)
    outputs = plan.outputs_of(chosen)
    names = plan.names_of(pictures)
    given = {name: value for name, value in chosen.items() if name not in FREE_TO_CHANGE}
    check_folder(outputs.folder, given, overwrite=overwrite, resume=resume)
    plan.check_files(pictures, names, outputs, may_exist=overwrite or resume)
    if dry_run:
        plan.list_run(pictures, names, outputs, as_json)
        return
    settings = plan.settings_of(chosen, pictures.length)
    job = PredictJob(pictures, names, outputs, given=given, settings=settings, requests=requests)
    _run(job, chosen, requests)


def _check_together(context: typer.Context) -> None:
    """Options that mean nothing beside each other."""
    chosen = context.params
    refused = ONLY_PROMPTS if chosen["everything"] else ONLY_EVERYTHING
    for name in refused:
        if context.get_parameter_source(name).name == "COMMANDLINE":
            flag = name.replace("_", "-")
            reason = "goes with prompts, not with --everything" if chosen["everything"] else "goes with --everything"
            raise typer.BadParameter(f"--{flag} {reason}")
    if chosen["resume"] and chosen["output"] is None:
        raise typer.BadParameter("--resume needs --output, the folder of the run to go on with")
    if chosen["end"] is not None and chosen["end"] <= chosen["start"]:
        raise typer.BadParameter(f"--end {chosen['end']} must be after --start {chosen['start']}")


def _run(job: PredictJob, chosen: dict, requests: list) -> None:
    from transformers import set_seed

    from sam2_hf.checkpoints.loading import load
    from sam2_hf.cli.predict_methods import WithinMemory

    where = {name: chosen[name] for name in ("revision", "device", "dtype", "offline")}
    network, processor, line = load(chosen["model"], **where)
    options.say(line, chosen["quiet"])
    set_seed(chosen["seed"])
    method = _method(network, processor, chosen, requests)
    status = job.run(WithinMemory(method, chosen["object_batch"], job.say))
    _report(job, status, chosen)


def _method(network, processor, chosen: dict, requests: list):
    from sam2_hf.cli.predict_methods import Everything, FromPrompts

    if not chosen["everything"]:
        return FromPrompts(network, processor, requests, {name: chosen[name] for name in ONLY_PROMPTS})
    how = {
        "points_per_side": chosen["points_per_side"],
        "crop_n_layers": chosen["crop_layers"],
        "min_mask_region_area": chosen["min_region_area"],
    }
    given = {
        "box_nms_thresh": chosen["nms"],
        "crop_nms_thresh": chosen["nms"],
        "stability_score_thresh": chosen["min_stability"],
        "pred_iou_thresh": chosen["min_iou"],
    }
    return Everything(network, processor, how | {name: value for name, value in given.items() if value is not None})


def _report(job: PredictJob, status: str, chosen: dict) -> None:
    """The summary on stdout, how to go on on stderr, and the exit code."""
    counts, failed = job.counts, job.failed
    finished = counts["done"] + counts["resumed"]
    if chosen["as_json"]:
        summary = {"output": str(job.folder), "pictures": counts["pictures"], "failed": failed, "status": status}
        typer.echo(json.dumps(summary))
    else:
        typer.echo(f"{finished} of {counts['pictures']} pictures segmented, written to {job.folder}")
    for line in job.table():
        options.say(line, chosen["quiet"])
    if status == "interrupted":
        options.say(f"interrupted; go on with: {resume_command(job.folder)}", chosen["quiet"])
        raise typer.Exit(ExitCode.INTERRUPTED)
    if not counts["pictures"]:
        options.say("the sources gave no picture", chosen["quiet"])
        raise typer.Exit(ExitCode.NO_INPUT)
    if failed:
        raise typer.Exit(ExitCode.SOME_FAILED)
