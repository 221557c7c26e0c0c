"""`sam2-hf track`: follow prompted objects through a video."""

import json
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from sam2_hf.cli import options
from sam2_hf.cli.exit_codes import ExitCode
from sam2_hf.cli.predict import next_folder
from sam2_hf.cli.run_folder import RUN, check_folder, write_run
from sam2_hf.errors import PromptError, Sam2Error, SourceError

SAVE_KINDS = ("overlay", "json", "davis", "coco", "csv")
DIRECTIONS, KEEP = ("forward", "backward", "both"), ("window", "all")
OUTPUTS = ("overlay.mp4", "coco.json", "areas.csv")
RESULTS, STATE = "results.jsonl", "session.safetensors"


def track(
    source: Annotated[str, typer.Argument(metavar="SRC", help="Video file or folder of frames.")],
    point: Annotated[list[str] | None, typer.Option(help="[FRAME@][ID:]x,y[,-] in pixels; ',-' is outside.")] = None,
    box: Annotated[list[str] | None, typer.Option(help="[FRAME@][ID:]x0,y0,x1,y1 in pixels.")] = None,
    mask: Annotated[list[str] | None, typer.Option(help="[FRAME@][ID:]FILE, black and white.")] = None,
    normalized: Annotated[bool, typer.Option("--normalized", help="Points and boxes are fractions 0..1.")] = False,
    direction: Annotated[str, typer.Option(help="forward, backward or both.")] = "forward",
    start: Annotated[int | None, typer.Option(help="Frame to start at; default: the first prompted one.")] = None,
    max_frames: Annotated[int | None, typer.Option(min=1, help="At most so many frames in each direction.")] = None,
    keep: Annotated[str, typer.Option(help="window (bounded memory) or all.")] = "window",
    fill_hole_area: Annotated[int, typer.Option(min=0, help="Fill holes up to this many low-resolution pixels.")] = 8,
    non_overlap: Annotated[bool, typer.Option("--non-overlap", help="A pixel belongs to one object only.")] = False,
    upstream: Annotated[bool, typer.Option("--upstream", help="Track as the original does.")] = False,
    save: Annotated[str, typer.Option(help=f"What to write, of {','.join(SAVE_KINDS)}.")] = "overlay,json",
    fps: Annotated[float | None, typer.Option(help="Of the overlay video; default: the source's.")] = None,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Frames between two checkpoints for --resume.")] = 500,
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
    no_progress: options.NoProgress = False,
    offline: options.Offline = False,
) -> None:
    """Follow objects through a video, from points, boxes or masks on any frame.

    Example: sam2-hf track clip.mp4 --box 0@1:300,0,500,400 --point 40@2:410,80 -o out
    """
    from sam2_hf.cli.prompt_options import read_video_options

    kinds = [kind.strip() for kind in save.split(",") if kind.strip()]
    _check_values(kinds, save, direction, keep, fps)
    if not Path(source).exists():
        raise SourceError(f"{source}: no such video file or folder")
    prompts = read_video_options(point or [], box or [], mask or [])
    if not prompts:
        raise PromptError("no prompt given; pass --point, --box or --mask")
    folder = next_folder("track") if output is None else Path(output)
    choices = {"direction": direction, "start": start, "max_frames": max_frames, "keep": keep}
    choices |= {"fill_hole_area": fill_hole_area, "non_overlap": non_overlap, "upstream": upstream}
    given = {"source": source, "prompts": repr(prompts), "normalized": normalized, **choices}
    given |= {"model": model, "revision": revision, "dtype": dtype}
    check_folder(folder, given, overwrite=overwrite, resume=resume)

    from sam2_hf.cli.model_choice import load

    network, processor, line = load(model, revision=revision, device=device, dtype=dtype, offline=offline)
    options.say(line, quiet)
    session, done = _session(network, processor, source, prompts, choices, folder, normalized, resume)
    if resume and not done:
        options.say("--resume: no state to go on from (only forward passes keep one); tracking from the start", quiet)
    job = _Job(folder, kinds, session, fps, checkpoint_every, bar=not (quiet or no_progress))
    passed = job.begin(done, choices)  # refuses what cannot be followed before anything is written
    if not resume:
        _clear(folder)
    finished = _run(job, done, passed, given)
    if not finished:
        options.say(f"interrupted; go on with the same command and --resume --output {folder}", quiet)
    summary = {"output": str(folder), "frames": job.frames, "status": "done" if finished else "interrupted"}
    typer.echo(json.dumps(summary) if as_json else f"{job.frames} frames tracked, written to {folder}")
    if not finished:
        raise typer.Exit(ExitCode.INTERRUPTED)


class _Job:
    """One run: feeds sinks, saves checkpoints, ends after a whole frame when it is interrupted."""

    def __init__(self, folder: Path, kinds: list[str], session, fps: float | None, every: int, bar: bool):
        self.folder, self.kinds, self.session, self.every, self.bar = folder, kinds, session, every, bar
        self.fps = fps or session.source.fps
        self.frames = 0
        self.stop = False

    def begin(self, done: list, choices: dict):
        """The pass that is still to do."""
        from sam2_hf.pipelines.video import follow

        span = {"start_frame": choices["start"], "max_frames": choices["max_frames"]}
        if done:
            span["start_frame"] = done[-1].frame + 1
            span["max_frames"] = None if span["max_frames"] is None else span["max_frames"] - len(done)
            if span["max_frames"] == 0 or span["start_frame"] >= self.session.num_frames:
                return iter(())
        return follow(self.session, choices["direction"], **span)

    def run(self, done: list, passed) -> bool:
        """Replays results of an earlier part, then tracks on. False: interrupted, with a checkpoint."""
        from tqdm import tqdm

        from sam2_hf.pipelines.video import with_picture

        with ExitStack() as stack:
            self._catch_signals(stack)
            lines, *pictures = self._sinks(len(done))
            for sink in (lines, *pictures):
                stack.callback(sink.close)
            for result in done:
                self._write(pictures, with_picture(result, self.session))
                if self.stop:
                    return False
            try:
                for result in tqdm(passed, disable=None if self.bar else True, unit="frame"):
                    self._write((lines, *pictures), result)
                    if self.stop or self.frames % self.every == 0:
                        self.session.save(self.folder / STATE)
                    if self.stop:
                        return False
            except Sam2Error:  # a broken frame: what was tracked before it can be resumed
                self.session.save(self.folder / STATE)
                raise
        return True

    def _catch_signals(self, stack: ExitStack) -> None:
        """The first Ctrl-C or SIGTERM lets the frame be finished, the second stops at once."""

        def note(number, frame):
            if self.stop:
                raise KeyboardInterrupt
            self.stop = True

        for number in (signal.SIGINT, signal.SIGTERM):
            stack.callback(signal.signal, number, signal.signal(number, note))

    def _write(self, sinks, result) -> None:
        for sink in sinks:
            sink.write(result)
        self.frames += 1

    def _sinks(self, keep: int) -> list:
        from sam2_hf.pipelines import video_writers as writers

        make = {
            "overlay": lambda: writers.OverlayVideo(self.folder / "overlay.mp4", self.fps),
            "davis": lambda: writers.DavisPngs(self.folder / "davis"),
            "coco": lambda: writers.CocoJson(self.folder / "coco.json"),
            "csv": lambda: writers.AreasCsv(self.folder / "areas.csv"),
        }
        lines = writers.Jsonl(self.folder / RESULTS, keep)
        return [lines, *(make[kind]() for kind in self.kinds if kind != "json")]


def _check_values(kinds: list[str], save: str, direction: str, keep: str, fps: float | None) -> None:
    if not kinds or set(kinds) - set(SAVE_KINDS):
        raise typer.BadParameter(f"--save takes {', '.join(SAVE_KINDS)}, got {save!r}")
    for name, value, known in (("direction", direction, DIRECTIONS), ("keep", keep, KEEP)):
        if value not in known:
            raise typer.BadParameter(f"--{name} takes {', '.join(known)}, got {value!r}")
    if fps is not None and not 0 < fps < float("inf"):
        raise typer.BadParameter(f"--fps must be a positive number, got {fps}")


def _run(job: "_Job", done, passed, given: dict) -> bool:
    """Runs the job, with run.json telling how it stands; False: interrupted."""
    write_run(job.folder, "track", given, "running", frames=0)
    try:
        finished = job.run(done, passed)
    except BaseException:
        write_run(job.folder, "track", given, "failed", frames=job.frames)
        raise
    write_run(job.folder, "track", given, "done" if finished else "interrupted", frames=job.frames)
    return finished


def _session(network, processor, source: str, prompts, choices: dict, folder: Path, normalized: bool, resume: bool):
    """A session with its prompts, or the saved one and the results up to it."""
    from dataclasses import replace

    from sam2_hf.tracking.policy import TrackingPolicy
    from sam2_hf.tracking.session import Sam2InferenceSession

    state = folder / STATE
    if resume and state.exists() and choices["direction"] == "forward":
        session = Sam2InferenceSession.load(state, network, processor, video=source)
        last = max((frame for track in session.tracks.values() for frame in track.visited), default=None)
        done = [] if last is None else _results(folder / RESULTS, last)
        if done and done[-1].frame == last:
            return session, done  # else the two do not belong together: start over
    policy = TrackingPolicy.upstream() if choices["upstream"] else TrackingPolicy()
    policy = replace(policy, **{name: choices[name] for name in ("keep", "fill_hole_area", "non_overlap")})
    session = Sam2InferenceSession(network, processor, source, policy=policy)
    for prompt in prompts:
        session.add_prompt(**prompt.arguments(), normalized=normalized)
    return session, []


def _results(path: Path, last: int) -> list:
    """Results of the earlier part; a line that was being written when it stopped is left out."""
    from sam2_hf.pipelines.video import VideoFrameResult

    results = []
    for line in path.read_text().splitlines():
        try:
            result = VideoFrameResult.from_dict(json.loads(line))
        except json.JSONDecodeError:
            break
        if result.frame <= last:
            results.append(result)
    return results


def _clear(folder: Path) -> None:
    """Removes what an earlier run of this command wrote there."""
    for name in (RESULTS, STATE, RUN, *OUTPUTS):
        (folder / name).unlink(missing_ok=True)
    for picture in (folder / "davis").glob("[0-9]*.png"):
        picture.unlink()
