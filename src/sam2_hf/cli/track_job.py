"""The work of `sam2-hf track` on one video: a pass into sinks, saved so that it can be gone on with."""

import hashlib
import json
import sys
import time
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path

import typer

from sam2_hf.cli import options
from sam2_hf.cli.run_folder import earlier_run, write_run
from sam2_hf.cli.track_outputs import FILES, PROMPTS, RESULTS, STATE, clear, make_sinks
from sam2_hf.cli.track_passes import EverythingPass, PromptedPass
from sam2_hf.errors import DecodeError, Sam2Error
from sam2_hf.runs.interruption import Interruption
from sam2_hf.runs.settings import in_options


class TrackJob:
    """One run.

    Args:
        folder: where everything goes.
        source: as it was written.
        kinds: of `--save`.
        given: the options that a resumed run must share.
        chosen: all options.
        requests: prompts; none for everything.
        parts: model and processor.
    """

    def __init__(self, folder: Path, source: str, kinds: tuple[str, ...], given: dict, chosen: dict, requests, parts):
        self.folder, self.source, self.kinds, self.given, self.chosen = folder, source, kinds, given, chosen
        self.requests, self.parts = requests, parts
        self.frames, self.skipped = 0, {}
        self.begun = time.perf_counter()

    def run(self) -> dict:
        """Tracks; returns what `run.json` says, with `status` "done" or "interrupted"."""
        passed, done = self._begin()
        if self.chosen["resume"] and not done:
            self._say("--resume: no state to go on from (only forward passes keep one); tracking from the start")
        if done:
            self.skipped = dict(earlier_run(self.folder).get("skipped", {}))
        if not self.chosen["resume"]:
            clear(self.folder, self.kinds)
        self._write_run("running")
        status, problem = "failed", {}
        try:
            if not done:
                self._write_prompts(passed)
            status = self._follow(passed, done)
        except Exception as error:
            problem = {"error": str(error)}
            raise
        finally:
            record = self._write_run(status, **problem)
        if passed.why_empty is not None:
            self._say(f"nothing was found: at the last look {in_options(passed.why_empty)}")
        if self.chosen["show"] and status == "done" and "overlay" in self.kinds:
            typer.launch(str(self.folder / FILES["overlay"]))
        return record

    def _begin(self):
        """The pass, ready to be followed, and the results of an earlier part. Refuses before anything is written."""
        from sam2_hf.pipelines.video_pass import VideoSpan
        from sam2_hf.tracking.policy import TrackingPolicy

        span = VideoSpan(**{entry.name: self.chosen[entry.name] for entry in fields(VideoSpan)})
        policy = TrackingPolicy.upstream() if self.chosen["upstream"] else TrackingPolicy()
        given = {entry.name: self.chosen[entry.name] for entry in fields(TrackingPolicy) if entry.name in self.chosen}
        if self.chosen["upstream"]:
            given = {name: given[name] for name in ("keep", "fill_hole_area", "non_overlap")}
        video = _video(self.source, self.chosen["offline"])
        kind = EverythingPass if self.chosen["everything"] else PromptedPass
        passed = kind(self.parts, video, span, replace(policy, **given), self.chosen, self.requests)
        done = self._earlier(passed) if self.chosen["resume"] and passed.can_resume else ()
        passed.begin(done)
        return passed, done

    def _earlier(self, passed):
        """Results up to the saved state, on disk; none if the two do not belong together."""
        from sam2_hf.pipelines.writing.result_lines import WrittenResults

        state = self.folder / STATE
        if not state.exists():
            return ()
        results = WrittenResults(self.folder / RESULTS)
        return results.first(passed.covered(state, results))

    def _follow(self, passed, done) -> str:
        """Replays results of an earlier part, then tracks on."""
        from tqdm import tqdm

        show_bar = not (self.chosen["quiet"] or self.chosen["no_progress"])
        with ExitStack() as stack:
            interruption = stack.enter_context(Interruption())
            lines, *others = make_sinks(self.folder, self.kinds, self.chosen["fps"] or passed.fps, len(done))
            for sink in (lines, *others):
                stack.callback(sink.close)
            for result in done:
                self._write(others, passed.with_picture(result))
                if interruption.requested:
                    return "interrupted"
            try:
                for result in tqdm(self._results(passed), disable=None if show_bar else True, unit="frame"):
                    self._write((lines, *others), result)
                    if interruption.requested or self.frames % self.chosen["checkpoint_every"] == 0:
                        passed.session.save(self.folder / STATE)
                    if interruption.requested:
                        return "interrupted"
            except Sam2Error:  # a broken frame: what was tracked before it can be resumed
                passed.session.save(self.folder / STATE)
                raise
        return "done"

    def _results(self, passed):
        """Results; frames that cannot be decoded are left out if they may be."""
        while True:
            try:
                yield from passed.results()
                return
            except DecodeError as error:
                frame = passed.skip_frame() if self.chosen["skip_bad_frames"] else None
                if frame is None:
                    raise
                self.skipped[str(frame)] = str(error)
                self._say(f"left out: {error}")

    def _write(self, sinks, result) -> None:
        for sink in sinks:
            sink.write(result)
        self.frames += 1

    def _write_prompts(self, passed) -> None:
        """The prompts of this run in original pixels, for another run or the browser."""
        from sam2_hf.disk.whole import write_whole
        from sam2_hf.pipelines.prompt_file import prompt_record

        if not self.requests:
            return
        height, width = passed.size
        requests = self.requests
        if self.chosen["normalized"]:
            requests = [request.in_pixels(passed.size) for request in requests]
        facts = {"name": Path(self.source).name, "width": width, "height": height, "fps": passed.fps}
        facts |= {"frames": passed.num_frames, "sha256": _sha256(Path(self.source))}
        record = prompt_record(requests, model=self.chosen["model"], source=facts)
        write_whole(self.folder / PROMPTS, json.dumps(record, indent=1).encode(), overwrite=True)

    def _write_run(self, status: str, **more) -> dict:
        from sam2_hf.evaluation.run_record import library_versions

        seconds = time.perf_counter() - self.begun
        facts = {"argv": sys.argv[1:], "versions": library_versions(), "seconds": round(seconds, 3), **more}
        return write_run(self.folder, "track", self.given, status, **facts, frames=self.frames, skipped=self.skipped)

    def _say(self, line: str) -> None:
        options.say(line, self.chosen["quiet"])


def summary_of(record: dict, folder: Path) -> dict:
    """What is reported of a run."""
    facts = {name: record[name] for name in ("frames", "skipped", "status")}
    return {"output": str(folder), "source": record["options"]["source"], **facts}


def _video(source: str, offline: bool):
    """What a session takes for a source of the command line."""
    if source.isdigit() and not Path(source).exists():
        return int(source)
    if source.startswith(("http://", "https://")):
        from sam2_hf.pipelines.reading.downloads import download

        return download(source, offline=offline)
    return source


def _sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
