"""`sam2-hf track`: follow objects through videos, prompted ones or everything there is."""

import json
import traceback
from pathlib import Path
from typing import Annotated

import typer

from sam2_hf.cli import options
from sam2_hf.cli.exit_codes import ExitCode
from sam2_hf.cli.run_folder import RUN, check_folder, earlier_run, next_folder, resume_command
from sam2_hf.cli.track_outputs import FILES, KINDS, check_free
from sam2_hf.errors import OutputExistsError, PromptError, Sam2Error, SourceError

PART, MEMORY = "Which part, which way", "How to track"
DIRECTIONS, KEEP = ("forward", "backward", "both"), ("window", "all")
FREE_TO_CHANGE = (  # when a run is resumed
    *("output", "overwrite", "resume", "dry_run", "quiet", "verbose", "as_json", "no_progress", "show"),
    *("device", "offline", "checkpoint_every", "sources"),
)
ONLY_EVERYTHING = (
    "detect_every",
    "track_iou",
    "max_objects",
    "points_per_side",
    "min_iou",
    "min_stability",
    "min_area",
)
NOT_EVERYTHING = ("point", "box", "mask", "init_masks", "prompts", "normalized", "direction")


def track(
    context: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SRC...",
            help="Video files, folders of frames, addresses or a camera number; several are one run each.",
        ),
    ],
    point: Annotated[
        list[str] | None,
        typer.Option(help="[FRAME@][ID:]x,y[,-] in pixels; ',-' is outside.", rich_help_panel=options.PROMPTS),
    ] = None,
    box: Annotated[
        list[str] | None, typer.Option(help="[FRAME@][ID:]x0,y0,x1,y1 in pixels.", rich_help_panel=options.PROMPTS)
    ] = None,
    mask: Annotated[
        list[str] | None, typer.Option(help="[FRAME@][ID:]FILE, black and white.", rich_help_panel=options.PROMPTS)
    ] = None,
    init_masks: Annotated[
        str | None,
        typer.Option(
            help="[FRAME@]FILE, a picture of object numbers, or a folder whose first picture is one.",
            rich_help_panel=options.PROMPTS,
        ),
    ] = None,
    prompts: options.PromptFile = None,
    normalized: options.Normalized = False,
    everything: options.Everything = False,
    detect_every: Annotated[
        int, typer.Option(min=1, help="Look for new objects every so many frames.", rich_help_panel=options.EVERYTHING)
    ] = 20,
    track_iou: Annotated[
        float,
        typer.Option(
            min=0.01, max=1, help="Covered by more than this share: not new.", rich_help_panel=options.EVERYTHING
        ),
    ] = 0.5,
    max_objects: Annotated[
        int,
        typer.Option(min=0, help="Follow at most so many at a time; 0: no limit.", rich_help_panel=options.EVERYTHING),
    ] = 0,
    points_per_side: options.PointsPerSide = 32,
    min_iou: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Least estimated IoU of a find; default: the checkpoint's, else 0.8.",
            rich_help_panel=options.EVERYTHING,
        ),
    ] = None,
    min_stability: options.MinStability = None,
    min_area: Annotated[
        int, typer.Option(min=0, help="Least area of a find in pixels.", rich_help_panel=options.EVERYTHING)
    ] = 16,
    direction: Annotated[str, typer.Option(help="forward, backward or both.", rich_help_panel=PART)] = "forward",
    start: Annotated[
        int | None, typer.Option(min=0, help="Frame to start at; default: the first prompted.", rich_help_panel=PART)
    ] = None,
    end: Annotated[int | None, typer.Option(min=1, help="Frame to stop before.", rich_help_panel=PART)] = None,
    stride: Annotated[int, typer.Option(min=1, help="Look at every so manieth frame.", rich_help_panel=PART)] = 1,
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="At most so many frames in each direction.", rich_help_panel=PART)
    ] = None,
    skip_bad_frames: Annotated[
        bool,
        typer.Option("--skip-bad-frames", help="Leave frames out that cannot be decoded.", rich_help_panel=PART),
    ] = False,
    keep: Annotated[str, typer.Option(help="window (bounded memory) or all.", rich_help_panel=MEMORY)] = "window",
    keep_corrections: Annotated[
        bool,
        typer.Option(
            "--keep-corrections/--no-keep-corrections", help="A corrected frame is remembered.", rich_help_panel=MEMORY
        ),
    ] = True,
    max_prompted_frames: Annotated[
        int | None, typer.Option(min=2, help="Prompted frames looked back at; default: all.", rich_help_panel=MEMORY)
    ] = None,
    include_before_first_prompt: Annotated[
        bool,
        typer.Option(
            "--include-before-first-prompt", help="Look for objects before their prompt.", rich_help_panel=MEMORY
        ),
    ] = False,
    fill_hole_area: Annotated[
        int, typer.Option(min=0, help="Fill holes up to this many low-resolution pixels.", rich_help_panel=MEMORY)
    ] = 8,
    non_overlap: Annotated[
        bool, typer.Option("--non-overlap", help="A pixel belongs to one object only.", rich_help_panel=MEMORY)
    ] = False,
    upstream: Annotated[
        bool, typer.Option("--upstream", help="Track as the original does.", rich_help_panel=MEMORY)
    ] = False,
    save: Annotated[
        list[str] | None,
        typer.Option(
            help=f"What to write, of {','.join(KINDS)}; default: overlay,json.", rich_help_panel=options.OUTPUT
        ),
    ] = None,
    fps: Annotated[
        float | None, typer.Option(help="Of written videos; default: the source's.", rich_help_panel=options.OUTPUT)
    ] = None,
    checkpoint_every: Annotated[
        int, typer.Option(min=1, help="Frames between two saves for --resume.", rich_help_panel=options.OUTPUT)
    ] = 500,
    show: Annotated[
        bool, typer.Option("--show", help="Open the overlay at the end.", rich_help_panel=options.OUTPUT)
    ] = False,
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
    """Follow objects through a video: from points, boxes or masks on any frame, or everything there is.

    Example: sam2-hf track clip.mp4 --box 0@1:300,0,500,400 --point 4@2:410,80 -o out

    Example: sam2-hf track clip.mp4 --everything --points-per-side 16 --max-objects 20 -o out
    """
    chosen = context.params
    _check_values(context)
    kinds = options.listed(save) or ("overlay", "json")
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise typer.BadParameter(f"--save takes {', '.join(KINDS)}, got {unknown[0]!r}")
    for source in sources:
        _check_source(source)
    requests = [] if everything else _requests(chosen)
    folders = _folders(sources, next_folder("track", reserve=not dry_run) if output is None else Path(output))
    given = {name: value for name, value in chosen.items() if name not in FREE_TO_CHANGE}
    if not (overwrite or resume):
        for folder in folders.values():
            check_free(folder, kinds)
    begun = {source for source, folder in folders.items() if (folder / RUN).exists()}
    for source, folder in folders.items():
        goes_on = resume and (source in begun or not begun)  # of several videos, some may not have been reached
        check_folder(folder, {"source": source, **given}, overwrite=overwrite, resume=goes_on)
    if dry_run:
        _list(folders, kinds, requests, as_json)
        return

    import torch

    from sam2_hf.checkpoints.loading import load
    from sam2_hf.cli.track_job import TrackJob, summary_of

    torch.manual_seed(seed)
    network, processor, line = load(model, revision=revision, device=device, dtype=dtype, offline=offline)
    options.say(line, quiet)
    done, failed = [], {}
    for source, folder in folders.items():
        earlier = earlier_run(folder) if resume else {}
        if earlier.get("status") == "done" and all((folder / FILES[kind]).exists() for kind in kinds):
            options.say(f"{source}: was done before", quiet)
            done.append(summary_of(earlier, folder))
            continue
        how = {**chosen, "resume": resume and source in begun}
        job = TrackJob(folder, source, kinds, {"source": source, **given}, how, requests, (network, processor))
        try:
            done.append(summary_of(job.run(), folder))
        except Sam2Error as error:
            if len(folders) == 1:
                raise
            if verbose:
                traceback.print_exception(error)
            failed[source] = str(error)
            options.say(f"{source}: {error}", quiet)
        if done and done[-1]["status"] == "interrupted":
            break
    _report(done, failed, folders, quiet=quiet, as_json=as_json)


def _check_values(context: typer.Context) -> None:
    chosen = context.params
    for name, known in (("direction", DIRECTIONS), ("keep", KEEP)):
        if chosen[name] not in known:
            raise typer.BadParameter(f"--{name} takes {', '.join(known)}, got {chosen[name]!r}")
    fps = chosen["fps"]
    if fps is not None and not 0 < fps < float("inf"):
        raise typer.BadParameter(f"--fps must be a positive number, got {fps}")
    refused = NOT_EVERYTHING if chosen["everything"] else ONLY_EVERYTHING
    reason = "does not go with --everything" if chosen["everything"] else "goes with --everything"
    for name in refused:
        if context.get_parameter_source(name).name == "COMMANDLINE":
            raise typer.BadParameter(f"--{name.replace('_', '-')} {reason}")
    if chosen["resume"] and chosen["output"] is None:
        raise typer.BadParameter("--resume needs --output, the folder of the run to go on with")


def _check_source(source: str) -> None:
    if "://" not in source and not source.isdigit() and not Path(source).exists():
        raise SourceError(f"{source}: no such video file or folder")


def _requests(chosen: dict) -> list:
    """What the options ask for, as requests; before any model is loaded.

    Raises:
        PromptError: nothing, or what cannot be meant.
    """
    from sam2_hf.cli.prompt_options import read_index_masks, read_video_options

    written = read_video_options(chosen["point"] or [], chosen["box"] or [], chosen["mask"] or [])
    objects = [prompt.as_object() for prompt in written]
    if chosen["init_masks"] is not None:
        objects += read_index_masks(chosen["init_masks"])
    if chosen["prompts"] is not None and objects:
        raise PromptError("--prompts is a file that says everything; leave out --point, --box, --mask and --init-masks")
    if chosen["prompts"] is not None:
        from sam2_hf.pipelines.prompt_file import read_prompt_file

        return read_prompt_file(chosen["prompts"])
    if not objects:
        raise PromptError("no prompt given; pass --point, --box, --mask, --init-masks, --prompts or --everything")
    from sam2_hf.pipelines.requests import requests_from

    return requests_from(objects=objects)


def _folders(sources: list[str], folder: Path) -> dict[str, Path]:
    """Where the run of each source goes."""
    if len(sources) == 1:
        return {sources[0]: folder}
    names = {source: Path(source.rstrip("/")).stem or source for source in sources}
    if len(set(names.values())) < len(sources):
        names = {source: Path(source.rstrip("/")).name for source in sources}
    if len(set(names.values())) < len(sources):
        raise OutputExistsError(f"{folder}: two videos of one name would be written there; track them in two runs")
    return {source: folder / name for source, name in names.items()}


def _list(folders: dict[str, Path], kinds: tuple[str, ...], requests: list, as_json: bool) -> None:
    """What a run would do."""
    plan = {source: [str(folder / FILES[kind]) for kind in kinds] for source, folder in folders.items()}
    objects = len({request.object_id for request in requests})
    if as_json:
        typer.echo(json.dumps({"videos": plan, "objects": objects, "prompts": len(requests)}))
        return
    for source, files in plan.items():
        typer.echo(f"{source} -> {', '.join(files)}")
    asked = f"{len(requests)} prompts of {objects} objects" if requests else "everything"
    typer.echo(f"{len(plan)} videos, {asked}; nothing was done (--dry-run)")


def _report(done: list[dict], failed: dict, folders: dict[str, Path], *, quiet: bool, as_json: bool) -> None:
    frames = sum(entry["frames"] for entry in done)
    interrupted = any(entry["status"] == "interrupted" for entry in done)
    root = next(iter(folders.values())) if len(folders) == 1 else next(iter(folders.values())).parent
    if interrupted:
        options.say(f"interrupted; go on with: {resume_command(root)}", quiet)
    summary = {"output": str(root), "frames": frames, "status": "interrupted" if interrupted else "done"}
    if len(folders) > 1:
        summary |= {"videos": done, "failed": failed}
    typer.echo(json.dumps(summary) if as_json else f"{frames} frames tracked, written to {root}")
    if interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)
    if failed or any(entry["skipped"] for entry in done):
        raise typer.Exit(ExitCode.SOME_FAILED)
