"""A run over data sets with true masks: clips, processes, records, reports."""

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from sam2_hf.datasets.mask_folders import truth_folders
from sam2_hf.disk.run_folder import Inputs, RunFolder
from sam2_hf.disk.whole import write_json
from sam2_hf.errors import ConfigError, SourceError
from sam2_hf.evaluation import report, runner
from sam2_hf.evaluation.clip_records import CLIPS, ClipRecords, made_by
from sam2_hf.evaluation.folder_scores import ScoringRules, score_folders
from sam2_hf.evaluation.protocols import Choices, make_protocol
from sam2_hf.evaluation.run_record import library_versions, policy_record
from sam2_hf.evaluation.scores import score_table
from sam2_hf.evaluation.semi_supervised import MASKS
from sam2_hf.runs.evaluate_settings import EvaluateSettings
from sam2_hf.runs.interruption import Interruption, status_of
from sam2_hf.runs.model import RunModel, load_model

WHICH_CLIPS = ("clips", "exclude", "limit", "roots")  # what is measured on a clip does not depend on it
Say = Callable[[str], None]


def evaluate(settings: EvaluateSettings, say: Say = lambda line: None) -> tuple[dict | None, Path]:
    """Measures what the settings say.

    Args:
        say: called with lines for people.

    Returns:
        `results.json` as `sam2_hf.evaluation.report` writes it, None in a process that leaves the report to another;
        and the folder.

    Raises:
        ConfigError: a setting that cannot be meant.
        OutputExistsError: the folder holds another run, is in use, or has a file in the way.
        ConfigChangedError: the run to be resumed was begun with other settings or another model.
        SourceError: a data set that cannot be read.
    """
    return _Evaluation(settings, say).run()


class _Evaluation:
    def __init__(self, settings: EvaluateSettings, say: Say):
        self.settings, self.say = settings, say
        self.processes = _processes(settings.shard, settings.device)
        self.folder: RunFolder

    def run(self) -> tuple[dict | None, Path]:
        settings = self.settings
        if settings.protocol == "metrics":
            truth = truth_folders(Path(settings.roots[0]))
            truth = {name: truth[name] for name in self._chosen(list(truth), str)}
            work: Callable[[], dict | None] = partial(self._score, truth)
        else:
            clips = self._clips()
            work = partial(self._time if settings.protocol == "speed" else self._measure, clips)
        is_main = self.processes.is_main
        chosen = settings.folder("eval", reserve=is_main)
        path = self.processes.agree(str(chosen.path))
        self.folder = chosen if is_main else RunFolder(path, "eval", settings.options())
        if not is_main:
            self.processes.wait()  # until the folder is as it must be
            self.folder.read()
            return work(), self.folder.path
        with self.folder.locked(shared=settings.shard is not None):
            self._check()
            self.processes.wait()
            return work(), self.folder.path

    @property
    def _keeps(self) -> bool:
        """What is in the folder stays: the run is resumed, or shared with the jobs of other shards."""
        return self.settings.resume or (self.settings.shard is not None and bool(self.folder.earlier))

    def _check(self) -> None:
        settings = self.settings
        names = [report.RESULTS]
        if settings.protocol != "speed":
            names += [report.TABLE, report.REPORT]
        if settings.protocol not in ("speed", "metrics"):
            names += [report.SHEET, CLIPS]
        if settings.protocol == "semi":
            names.append(MASKS)
        self.folder.check(
            overwrite=settings.overwrite,
            resume=self._keeps,
            planned=[self.folder.path / name for name in names],
            inputs=Inputs.of(*settings.roots, settings.pred, settings.model),
        )

    # The three kinds of work

    def _score(self, truth: dict[str, Path]) -> dict:
        """Scores masks that exist."""
        pred = Path(str(self.settings.pred))
        predicted = truth_folders(pred / MASKS if (pred / MASKS).is_dir() else pred)  # the folder of a run will do
        rules, workers = self._choices().rules, self.settings.workers
        results = score_folders(truth, predicted, rules, allow_missing=True, workers=workers)
        self.folder.begin(keep=self._keeps)
        report.write_report(results, score_table(results), self.folder.path, "Masks against the truth")
        self.folder.write("done")
        return results

    def _time(self, clips: list) -> dict:
        """Measures speed and memory on the first clip."""
        from sam2_hf.evaluation.speed import SpeedOptions, SpeedTest

        settings, clip = self.settings, clips[0]
        autocast = self._takes_autocast(settings.device)
        model = self._model(autocast)
        self.say(f"{model.line}; {clip.name}, {clip.num_frames} frames")
        chosen = SpeedOptions(
            passes=settings.passes,
            discarded=settings.passes // 5,
            object_counts=list(settings.objects),
            stream_lengths=list(settings.stream),
            compiled=settings.compiled,
            autocast=autocast,
        )
        frames = [clip.frame(index) for index in range(clip.num_frames)]
        record = SpeedTest(model.network, model.processor, frames, chosen).run()
        self.folder.begin(keep=self._keeps)
        write_json(self.folder.path / report.RESULTS, record)
        self.folder.write("done", **self._facts(model, autocast))
        return {"global": record, "videos": [], "excluded": [], "missing": []}

    def _measure(self, clips: list) -> dict | None:
        """Measures all clips of this process; results once all clips of all processes are there, else None."""
        settings, processes = self.settings, self.processes
        device = processes.device or settings.device
        autocast = settings.upstream and self._takes_autocast(device)
        model = self._model(autocast, device=device)
        protocol = make_protocol(settings.protocol, model.network, model.processor, self.folder.path, self._choices())
        records = ClipRecords(self.folder.path, self._made_by(model, autocast))
        own = processes.shard.of(clips)
        if not processes.is_main:
            with runner.bfloat16_autocast(model.network.device, autocast), Interruption() as interruption:
                failed = runner.measure_clips(own, protocol, records, stop=lambda: interruption.requested)
            processes.all_failures(failed)
            processes.close()
            return None
        self.say(model.line)
        facts = self._facts(model, autocast)
        self.folder.begin(keep=self._keeps, **facts)
        try:
            with runner.bfloat16_autocast(model.network.device, autocast), self._listening() as interruption:
                failed = runner.measure_clips(own, protocol, records, self.say, stop=lambda: interruption.requested)
            failed = processes.all_failures(failed)
            processes.close()
            if interruption.requested:
                raise KeyboardInterrupt
        except BaseException as error:
            with suppress(OSError):  # a full disk: the first error is the one to be told
                self.folder.write(status_of(error), **facts, error=str(error))
            if isinstance(error, KeyboardInterrupt):
                self.say(f"interrupted; go on with the same command and --resume --output {self.folder.path}")
            raise
        return self._finish(clips, protocol, records, failed, facts)

    def _listening(self) -> Interruption:
        return Interruption(then=lambda: self.say("stopping after the clip at hand; once more stops at once"))

    def _finish(self, clips: list, protocol, records: ClipRecords, failed: dict, facts: dict) -> dict | None:
        settings = self.settings
        results = runner.gather(clips, protocol, records, failed)
        waiting = [entry["name"] for entry in results["missing"] if entry["name"] not in failed]
        if settings.shard is not None and waiting:
            self.say(f"shard {settings.shard} is done; {len(waiting)} clips of other shards are not")
            return None
        title = f"{settings.protocol} on {', '.join(settings.roots)}"
        report.write_report(results, protocol.table(results), self.folder.path, title)
        report.write_worst_cases(results, clips, protocol, self.folder.path)
        timings = [{key: video[key] for key in ("name", "frames", "seconds")} for video in results["videos"]]
        self.folder.write("done", **facts, videos=timings)
        return results

    # Parts

    def _clips(self) -> list:
        from sam2_hf.datasets.registry import open_dataset

        settings = self.settings
        more = {"void_value": None} if settings.kind == "davis" and settings.keep_void else {}
        clips = []
        for root, name in zip(settings.roots, _names_of(settings.roots), strict=True):
            found = open_dataset(settings.kind, root, **more)
            for clip in found if len(settings.roots) > 1 else ():
                clip.name = f"{name}/{clip.name}"
            clips += found
        return self._chosen(clips, lambda clip: clip.name)

    def _chosen(self, clips: list, name: Callable) -> list:
        settings = self.settings
        try:
            chosen = runner.choose_clips(clips, settings.clips, settings.exclude, settings.limit, name)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        if not chosen:
            raise SourceError(f"{', '.join(settings.roots)}: no clip is left to measure")
        return chosen

    def _choices(self) -> Choices:
        settings = self.settings
        rules = ScoringRules(
            skip_first_and_last=not settings.keep_first_last,
            void=not settings.keep_void,
            curves=settings.per_frame,
        )
        generator = {
            "points_per_side": settings.points_per_side,
            "pred_iou_thresh": settings.min_iou,
            "stability_score_thresh": settings.min_stability,
        }
        generator = {name: value for name, value in generator.items() if value is not None}
        return Choices(
            prompt=settings.first_prompt,
            max_clicks=settings.max_clicks,
            all_masks=settings.all_masks,
            upstream=settings.upstream,
            fill_hole_area=settings.fill_hole_area,
            baselines=settings.baselines,
            per_frame=settings.per_frame,
            generator=generator,
            rules=rules,
        )

    def _model(self, autocast: bool, device: str | None = None) -> RunModel:
        changed = {"dtype": "fp32"} if autocast else {}
        if device is not None:
            changed["device"] = device
        return load_model(self.settings, self.folder, keep=self._keeps, **changed)

    def _takes_autocast(self, device: str) -> bool:
        """Whether `auto` means float32 weights with bfloat16 autocast: on CUDA, as the original is run and timed."""
        from sam2_hf.checkpoints.loading import default_placement

        device = default_placement()[0] if device == "auto" else device
        return device.startswith("cuda") and self.settings.dtype == "auto"

    def _facts(self, model: RunModel, autocast: bool) -> dict:
        facts = {**model.facts, "size": model.size, "autocast": autocast}
        return {"model": facts, "versions": library_versions(), "policy": policy_record(self._choices().policy)}

    def _made_by(self, model: RunModel, autocast: bool) -> str:
        """What makes the record of a clip."""
        options = {name: value for name, value in self.settings.options().items() if name not in WHICH_CLIPS}
        options |= {"model": None, "revision": None, "autocast": autocast, "dtype": model.facts["dtype"]}
        return made_by(model.facts["weights_sha256"], options)


def _names_of(roots: tuple[str, ...]) -> list[str]:
    """What clips of several data sets are told apart by."""
    names = [Path(root).resolve().name or "root" for root in roots]
    if len(set(names)) < len(names):
        names = [f"{name}-{number}" for number, name in enumerate(names, start=1)]
    return names


def _processes(shard: str | None, device: str) -> "runner.OneProcess | runner.TorchrunProcesses":
    """This process's place among those that share the work."""
    if shard is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return runner.TorchrunProcesses(cpu=device == "cpu")
    try:
        return runner.OneProcess(None if shard is None else runner.Shard.parse(shard))
    except ValueError as error:
        raise ConfigError(f"--shard: {error}") from error
