"""A run over videos: a pass into sinks, saved so that it can be gone on with."""

import hashlib
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from sam2_hf.disk.run_folder import Inputs, RunFolder
from sam2_hf.disk.whole import write_json
from sam2_hf.errors import DecodeError, OutputExistsError, PromptError, Sam2Error
from sam2_hf.evaluation.run_record import library_versions
from sam2_hf.pipelines.prompt_file import prompt_record
from sam2_hf.pipelines.reading.downloads import download
from sam2_hf.pipelines.video_pass import VideoSpan
from sam2_hf.pipelines.writing.missing_frames import MissingFrame
from sam2_hf.pipelines.writing.result_lines import WrittenResults
from sam2_hf.processing.picture_files import pictures_in
from sam2_hf.runs.interruption import Interruption, status_of
from sam2_hf.runs.model import RunModel, load_model
from sam2_hf.runs.random_numbers import seed_all
from sam2_hf.runs.settings import in_options, next_folder
from sam2_hf.runs.track_outputs import PROMPTS, RESULTS, STATE, make_sinks, planned
from sam2_hf.runs.track_passes import EverythingPass, PromptedPass
from sam2_hf.runs.track_settings import FILES, TrackSettings
from sam2_hf.tracking.policy import TrackingPolicy

FOLLOWED_UPSTREAM = ("keep", "fill_hole_area", "non_overlap")  # what may be chosen beside it
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class TrackOutcome:
    """How the run over one video ended.

    Attributes:
        source, folder: of the video, and of its files.
        status: "done" or "interrupted".
        frames: results that were written.
        skipped: from the number of each frame that was left out to the reason.
        unfinished: from each kind of file that ends before the video does to the reason.
    """

    source: str
    folder: Path
    status: str
    frames: int
    skipped: dict[str, str]
    unfinished: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class TrackPlan:
    """What is read and written.

    Attributes:
        settings: of the run.
        root: folder of everything.
        folders: of each source.
        read: files that the requests were read from.
    """

    settings: TrackSettings
    root: Path
    folders: dict[str, RunFolder]
    read: tuple[str, ...] = ()

    def goes_on(self, source: str) -> bool:
        """Whether the run of a source is resumed; of several videos, some may not have been reached before."""
        begun = [name for name, folder in self.folders.items() if folder.earlier]
        return self.settings.resume and (source in begun or not begun)

    def check(self) -> None:
        """Refuses what would mix two runs or lose a file.

        Raises:
            OutputExistsError, ConfigChangedError: as `RunFolder.check`.
        """
        for source, folder in self.folders.items():
            path = Path(source)
            frames = pictures_in(path) if path.is_dir() else [path]
            if path.is_dir() and path.resolve() == folder.path.resolve():
                raise OutputExistsError(f"{folder.path}: is the folder of frames itself; choose another --output")
            folder.check(
                overwrite=self.settings.overwrite,
                resume=self.goes_on(source),
                planned=planned(folder.path, self.settings.save),
                inputs=Inputs.of(*frames, *self.read, self.settings.model),
            )


def plan_of(settings: TrackSettings, *, read: tuple[str, ...] = (), reserve: bool = True) -> TrackPlan:
    """The plan of a run. Opens no video and loads no model.

    Args:
        read: files and folders that the requests were read from, which are never written over.
        reserve: take the folder that is chosen by default.

    Raises:
        PromptError: no prompt, or prompts beside `everything`.
        SourceError: a source that is not there.
        OutputExistsError: two sources of one name.
    """
    settings.check_sources()
    settings.check_asked(bool(settings.requests))
    if settings.everything and settings.requests:
        raise PromptError("--everything takes no prompts")
    chosen = settings.output is None
    root = next_folder("track", reserve=reserve) if settings.output is None else Path(settings.output)
    options = settings.options()
    folders = {
        source: RunFolder(path, "track", {"source": source, **options}, reserved=chosen and reserve and path == root)
        for source, path in settings.folders(root).items()
    }
    return TrackPlan(settings=settings, root=root, folders=folders, read=read)


def track(
    settings: TrackSettings, *, say: Say = lambda line: None, bar: bool = False, verbose: bool = False
) -> tuple[list[TrackOutcome], dict[str, str]]:
    """Follows objects through videos and writes what was found.

    Args:
        say: called with lines for people.
        bar: show progress where there is a terminal.
        verbose: print the traceback of a video that failed.

    Returns:
        outcomes of the videos that were reached, and the error of each that failed.

    Raises:
        PromptError, SourceError, ConfigError: what cannot be meant; of several videos, one that fails is listed.
        OutputExistsError: a folder holds another run, is in use, or has a file in the way.
        ConfigChangedError: the run to be resumed was begun with other settings, prompts, weights or another video.
        CheckpointError: the model cannot be loaded.
    """
    return run_plan(plan_of(settings), say=say, bar=bar, verbose=verbose)


def run_plan(
    plan: TrackPlan, *, say: Say = lambda line: None, bar: bool = False, verbose: bool = False
) -> tuple[list[TrackOutcome], dict[str, str]]:
    """As `track`, after a plan was made."""
    settings, folders = plan.settings, plan.folders
    done: list[TrackOutcome] = []
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        if len(folders) > 1:
            stack.callback(_remove_if_empty, plan.root)
        for folder in folders.values():
            stack.enter_context(folder.locked())
        plan.check()
        begun = {source: folder for source, folder in folders.items() if settings.resume and folder.earlier}
        model = load_model(settings, next(iter((begun or folders).values())), keep=bool(begun))
        say(model.line)
        seed_all(settings.seed)
        for source, folder in folders.items():
            if source in begun and folder.earlier.get("status") == "done" and _is_whole(folder, settings):
                say(f"{source}: was done before")
                done.append(_outcome(source, folder, folder.earlier))
                continue
            job = TrackJob(settings, source, folder, model, resume=source in begun, say=say, bar=bar)
            try:
                done.append(_outcome(source, folder, job.run()))
            except Sam2Error as error:
                if len(folders) == 1:
                    raise
                if verbose:
                    traceback.print_exception(error)
                failed[source] = str(error)
                say(f"{source}: {error}")
            if done and done[-1].status == "interrupted":
                break
    return done, failed


class TrackJob:
    """The run over one video.

    Args:
        source: as it was written.
        folder: that is locked.
        resume: go on with the run in the folder.
    """

    def __init__(
        self,
        settings: TrackSettings,
        source: str,
        folder: RunFolder,
        model: RunModel,
        *,
        resume: bool = False,
        say: Say = lambda line: None,
        bar: bool = False,
    ):
        self.settings, self.source, self.folder, self.model = settings, source, folder, model
        self.resume, self.say, self.bar = resume, say, bar
        self.frames = 0
        self.skipped: dict = {}
        self.unfinished: dict = {}
        self.begun = time.perf_counter()

    def run(self) -> dict:
        """Tracks; returns what `run.json` says, with `status` "done" or "interrupted"."""
        passed, done = self._begin()
        if self.resume and not done:
            self.say("--resume: no state to go on from (only forward passes keep one); tracking from the start")
        if done:
            self.skipped = dict(self.folder.earlier.get("skipped", {}))
        self.folder.begin(keep=self.resume, **self._facts())
        try:
            if not done:
                self._write_prompts(passed)
            status = self._follow(passed, done)
        except BaseException as error:
            with suppress(OSError):  # a full disk: the first error is the one to be told
                self.folder.write(status_of(error), **self._facts(), error=str(error))
            raise
        record = self.folder.write(status, **self._facts())
        if passed.why_empty is not None:
            self.say(f"nothing was found: at the last look {in_options(passed.why_empty)}")
        return record

    def _begin(self):
        """The pass, ready to be followed, and the results of an earlier part. Refuses before anything is written."""
        settings = self.settings
        span = VideoSpan(**settings.part(VideoSpan))
        policy = TrackingPolicy.upstream() if settings.upstream else TrackingPolicy()
        given = settings.part(TrackingPolicy)
        if settings.upstream:
            given = {name: given[name] for name in FOLLOWED_UPSTREAM}
        video = _video(self.source, settings.offline)
        kind = EverythingPass if settings.everything else PromptedPass
        parts = (self.model.network, self.model.processor)
        passed = kind(parts, video, span, replace(policy, **given), settings)
        done = self._earlier(passed) if self.resume and passed.can_resume else ()
        passed.begin(done)
        return passed, done

    def _earlier(self, passed):
        """Results up to the saved state, on disk; none if the two do not belong together."""
        state = self.folder.path / STATE
        if not state.exists():
            return ()
        results = WrittenResults(self.folder.path / RESULTS)
        return results.first(passed.covered(state, results))

    def _follow(self, passed, done) -> str:
        """Replays results of an earlier part, then tracks on."""
        settings, state = self.settings, self.folder.path / STATE
        with ExitStack() as stack:
            interruption = stack.enter_context(Interruption())
            lines, *others = make_sinks(self.folder.path, settings.save, settings.fps or passed.fps, len(done))
            for sink in (lines, *others):
                stack.callback(sink.close)
            left_out = sorted(self.skipped, key=int)
            for result in done:
                while left_out and int(left_out[0]) < result.frame:
                    self._skip(others, int(left_out.pop(0)))
                self._write(others, passed.with_picture(result))
                if interruption.requested:
                    return "interrupted"
            try:
                for result in self._shown(self._results(passed, (lines, *others)), passed.total, len(done)):
                    self._write((lines, *others), result)
                    if interruption.requested or self.frames % settings.checkpoint_every == 0:
                        passed.session.save(state)
                    if interruption.requested:
                        return "interrupted"
            except Sam2Error:  # a broken frame: what was tracked before it can be resumed
                passed.session.save(state)
                raise
        return "done"

    def _results(self, passed, sinks):
        """Results; frames that cannot be decoded are left out if they may be."""
        while True:
            try:
                yield from passed.results()
                return
            except DecodeError as error:
                frame = passed.skip_frame() if self.settings.skip_bad_frames else None
                if frame is None:
                    raise
                self.skipped[str(frame)] = str(error)
                self.folder.write("running", **self._facts())  # also for a run that is killed
                self.say(f"left out: {error}")
                self._skip(sinks, frame)

    def _shown(self, results, total: int | None, done: int) -> tqdm:
        """Results with a bar, which knows how many there will be where they can be counted."""
        return tqdm(results, total=total, initial=done, disable=None if self.bar else True, unit="frame")

    def _skip(self, sinks, frame: int) -> None:
        """Shows a frame as missing."""
        missing = MissingFrame(frame=frame, reason=self.skipped[str(frame)], source=self.source)
        for sink in sinks:
            if sink.path.name not in self.unfinished:
                sink.skip(missing)

    def _write(self, sinks, result) -> None:
        for sink in sinks:
            name = sink.path.name
            if name in self.unfinished:
                continue
            try:
                sink.write(result)
            except ValueError as error:  # it cannot hold this result, such as the 256th object of a palette
                if not self.frames:
                    raise
                self.unfinished[name] = f"ends before frame {result.frame}: {error}"
                self.say(f"{name}: {self.unfinished[name]}")
        self.frames += 1

    def _write_prompts(self, passed) -> None:
        """The prompts of this run in original pixels, for another run or the browser."""
        requests = list(self.settings.requests)
        if not requests:
            return
        height, width = passed.size
        if self.settings.normalized:
            requests = [request.in_pixels(passed.size) for request in requests]
        facts = {"name": Path(self.source).name, "width": width, "height": height, "fps": passed.fps}
        facts |= {"frames": passed.num_frames, "sha256": _sha256(Path(self.source))}
        write_json(self.folder.path / PROMPTS, prompt_record(requests, model=self.settings.model, source=facts))

    def _facts(self) -> dict:
        """For `run.json`."""
        return {
            "argv": sys.argv[1:],
            "versions": library_versions(),
            "model": self.model.facts,
            "seconds": round(time.perf_counter() - self.begun, 3),
            "frames": self.frames,
            "skipped": self.skipped,
            "unfinished": self.unfinished,
        }


def _outcome(source: str, folder: RunFolder, record: dict) -> TrackOutcome:
    told = {name: record[name] for name in ("status", "frames", "skipped")}
    return TrackOutcome(source=source, folder=folder.path, unfinished=record.get("unfinished", {}), **told)


def _is_whole(folder: RunFolder, settings: TrackSettings) -> bool:
    return folder.is_whole(FILES[kind] for kind in settings.save)


def _video(source: str, offline: bool):
    """What a session takes for a source."""
    if source.isdigit() and not Path(source).exists():
        return int(source)
    return download(source, offline=offline) if source.startswith(("http://", "https://")) else source


def _sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
