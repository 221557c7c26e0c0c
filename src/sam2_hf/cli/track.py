"""`sam2-hf track`: follow objects through videos, prompted ones or everything there is."""

import json
from dataclasses import fields, replace
from typing import Annotated

import typer

from sam2_hf.cli import options
from sam2_hf.cli.exit_codes import ExitCode
from sam2_hf.cli.prompt_options import check_prompt_files, prompts_of, read_index_masks, read_video_options
from sam2_hf.cli.resume_command import resume_command
from sam2_hf.errors import PromptError
from sam2_hf.runs.track_settings import FILES, KINDS, OF_EVERYTHING, OF_PROMPTS, TrackSettings

PART, MEMORY, TRACK = "Which part, which way", "What is remembered", "How to track"
CORRECTIONS = "Corrections"  # apart: beside longer texts `--help` would cut its names at 80 columns
PROMPT_FLAGS = ("point", "box", "mask", "init_masks", "prompts")
DEFAULTS = TrackSettings()


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
    normalized: options.Normalized = DEFAULTS.normalized,
    everything: options.Everything = DEFAULTS.everything,
    detect_every: Annotated[
        int, typer.Option(min=1, help="Look for new objects every so many frames.", rich_help_panel=options.EVERYTHING)
    ] = DEFAULTS.detect_every,
    track_iou: Annotated[
        float,
        typer.Option(
            min=0.01, max=1, help="Covered by more than this share: not new.", rich_help_panel=options.EVERYTHING
        ),
    ] = DEFAULTS.track_iou,
    max_objects: Annotated[
        int,
        typer.Option(min=0, help="Follow at most so many at a time; 0: no limit.", rich_help_panel=options.EVERYTHING),
    ] = DEFAULTS.max_objects,
    points_per_side: options.PointsPerSide = DEFAULTS.points_per_side,
    min_iou: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Least estimated IoU of a find; default: the checkpoint's, else 0.8.",
            rich_help_panel=options.EVERYTHING,
        ),
    ] = DEFAULTS.min_iou,
    min_stability: options.MinStability = DEFAULTS.min_stability,
    min_area: Annotated[
        int, typer.Option(min=0, help="Least area of a find in pixels.", rich_help_panel=options.EVERYTHING)
    ] = DEFAULTS.min_area,
    direction: Annotated[
        str, typer.Option(help="forward, backward or both.", rich_help_panel=PART)
    ] = DEFAULTS.direction,
    start: Annotated[
        int | None, typer.Option(min=0, help="Frame to start at; default: the first prompted.", rich_help_panel=PART)
    ] = DEFAULTS.start,
    end: Annotated[int | None, typer.Option(min=1, help="Frame to stop before.", rich_help_panel=PART)] = DEFAULTS.end,
    stride: Annotated[
        int, typer.Option(min=1, help="Look at every N-th frame.", rich_help_panel=PART)
    ] = DEFAULTS.stride,
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="At most so many frames in each direction.", rich_help_panel=PART)
    ] = DEFAULTS.max_frames,
    skip_bad_frames: Annotated[
        bool,
        typer.Option(
            "--skip-bad-frames",
            help="Leave out, and show as missing, frames that cannot be decoded.",
            rich_help_panel=PART,
        ),
    ] = DEFAULTS.skip_bad_frames,
    keep: Annotated[str, typer.Option(help="window (bounded memory) or all.", rich_help_panel=MEMORY)] = DEFAULTS.keep,
    keep_corrections: Annotated[
        bool,
        typer.Option(
            "--keep-corrections/--no-keep-corrections", help="Remember corrected frames.", rich_help_panel=CORRECTIONS
        ),
    ] = DEFAULTS.keep_corrections,
    max_prompted_frames: Annotated[
        int | None,
        typer.Option(min=2, metavar="N", help="Prompted frames looked back at; default: all.", rich_help_panel=MEMORY),
    ] = DEFAULTS.max_prompted_frames,
    include_before_first_prompt: Annotated[
        bool,
        typer.Option(
            "--include-before-first-prompt", help="Look for objects before their prompt.", rich_help_panel=MEMORY
        ),
    ] = DEFAULTS.include_before_first_prompt,
    fill_hole_area: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="Fill holes up to this many low-resolution pixels.", rich_help_panel=TRACK
        ),
    ] = DEFAULTS.fill_hole_area,
    non_overlap: Annotated[
        bool, typer.Option("--non-overlap", help="A pixel belongs to one object only.", rich_help_panel=TRACK)
    ] = DEFAULTS.non_overlap,
    upstream: Annotated[
        bool, typer.Option("--upstream", help="Track as the original does.", rich_help_panel=TRACK)
    ] = DEFAULTS.upstream,
    save: Annotated[
        list[str] | None,
        typer.Option(
            help=f"What to write, of {', '.join(KINDS)}; default: {', '.join(DEFAULTS.save)}.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    fps: Annotated[
        float | None, typer.Option(help="Of written videos; default: the source's.", rich_help_panel=options.OUTPUT)
    ] = DEFAULTS.fps,
    checkpoint_every: Annotated[
        int, typer.Option(min=1, help="Frames between two saves for --resume.", rich_help_panel=options.OUTPUT)
    ] = DEFAULTS.checkpoint_every,
    show: Annotated[
        bool, typer.Option("--show", help="Open the overlay at the end.", rich_help_panel=options.OUTPUT)
    ] = False,
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
    """Follow objects through a video: from points, boxes or masks on any frame, or everything there is.

    Example: sam2-hf track clip.mp4 --box 0@1:300,0,500,400 --point 4@2:410,80 -o tracked

    Example: sam2-hf track clip.mp4 --everything --points-per-side 16 --max-objects 20 -o tracked
    """
    _check_together(context)
    names = {entry.name for entry in fields(TrackSettings)} - {"sources", "save"}
    given = {name: value for name, value in context.params.items() if name in names}
    settings = TrackSettings(
        **given,
        sources=tuple(sources),
        save=options.listed(save) or DEFAULTS.save,
    )
    written = read_video_options(point or [], box or [], mask or [])
    if prompts is not None and (written or init_masks):
        raise PromptError("--prompts is a file that says everything; leave out --point, --box, --mask and --init-masks")
    settings.check_sources()
    settings.check_asked(bool(written or init_masks or prompts))
    check_prompt_files(prompts, init_masks)
    settings = replace(settings, requests=_requests(written, init_masks, prompts, normalized))

    from sam2_hf.runs.track import plan_of, run_plan

    def say(line: str) -> None:
        options.say(line, quiet)

    read = _files_read([*(mask or ()), *([init_masks] if init_masks else ())], prompts)
    plan = plan_of(settings, read=read, reserve=not dry_run)
    if dry_run:
        plan.check()
        _list(plan, as_json)
        return
    done, failed = run_plan(plan, say=say, bar=not (quiet or no_progress), verbose=verbose)
    for outcome in done:
        if show and outcome.status == "done" and "overlay" in settings.save:
            typer.launch(str(outcome.folder / FILES["overlay"]))
    _report(plan, done, failed, say=say, as_json=as_json)


def _check_together(context: typer.Context) -> None:
    """Options that mean nothing beside each other."""
    everything = context.params["everything"]
    for name in (*PROMPT_FLAGS, *OF_PROMPTS) if everything else OF_EVERYTHING:
        if context.get_parameter_source(name).name == "COMMANDLINE":
            reason = "does not go with --everything" if everything else "goes with --everything"
            raise typer.BadParameter(f"--{name.replace('_', '-')} {reason}")


def _requests(written: list, init_masks: str | None, prompts: str | None, normalized: bool) -> tuple:
    """What the options ask for, as requests; before any model is loaded.

    Raises:
        PromptError: what cannot be meant.
    """
    if prompts is not None:
        from sam2_hf.pipelines.prompt_file import read_prompt_file

        return tuple(read_prompt_file(prompts, normalized))
    given = prompts_of(written) + ([] if init_masks is None else read_index_masks(init_masks))
    from sam2_hf.processing.requests import check_once

    return tuple(check_once(given))


def _files_read(masks: list[str], prompts: str | None) -> tuple[str, ...]:
    """Files and folders of prompts and masks."""
    masks = [text.rpartition("@")[2] for text in masks]
    given = (prompts, *masks, *(text.partition(":")[2] for text in masks))
    return tuple(name for name in given if name)


def _list(plan, as_json: bool) -> None:
    """What a run would do."""
    settings = plan.settings
    files = {
        source: [str(folder.path / FILES[kind]) for kind in settings.save] for source, folder in plan.folders.items()
    }
    objects, prompts = len({request.object_id for request in settings.requests}), len(settings.requests)
    if as_json:
        typer.echo(json.dumps({"videos": files, "objects": objects, "prompts": prompts}))
        return
    for source, names in files.items():
        typer.echo(f"{source} -> {', '.join(names)}")
    asked = f"{prompts} prompts of {objects} objects" if prompts else "everything"
    typer.echo(f"{len(files)} videos, {asked}; nothing was done (--dry-run)")


def _report(plan, done: list, failed: dict, *, say, as_json: bool) -> None:
    frames = sum(outcome.frames for outcome in done)
    interrupted = any(outcome.status == "interrupted" for outcome in done)
    if interrupted:
        say(f"interrupted; go on with: {resume_command(plan.root)}")
    summary = {"output": str(plan.root), "frames": frames, "status": "interrupted" if interrupted else "done"}
    if len(plan.folders) > 1:
        names = ("source", "frames", "skipped", "unfinished", "status")
        videos = [{"output": str(one.folder), **{name: getattr(one, name) for name in names}} for one in done]
        summary |= {"videos": videos, "failed": failed}
    typer.echo(json.dumps(summary) if as_json else f"{frames} frames tracked, written to {plan.root}")
    if interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)
    if failed or any(outcome.skipped or outcome.unfinished for outcome in done):
        raise typer.Exit(ExitCode.SOME_FAILED)
