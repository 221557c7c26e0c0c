"""The work of `sam2-hf eval`: clips, processes, records, reports."""

import json
import os
import shutil
from pathlib import Path

import typer

from sam2_hf.cli import options
from sam2_hf.cli.run_folder import RUN, check_folder, write_run

CLIPS, MASKS = "clips", "masks"  # what earlier runs left in the folder


class EvaluationJob:
    """One run of the command.

    Args:
        folder: where everything goes.
        given: the options that a resumed run must share.
    """

    def __init__(self, folder: Path, given: dict, *, quiet: bool, overwrite: bool, resume: bool):
        self.folder, self.given, self.quiet = folder, given, quiet
        self.overwrite, self.resume = overwrite, resume

    def score(self, workers: int) -> dict:
        """Scores masks that exist."""
        from sam2_hf.evaluation.folder_scores import score_folders
        from sam2_hf.evaluation.mask_folders import truth_folders
        from sam2_hf.evaluation.report import write_report
        from sam2_hf.evaluation.scores import score_table

        truth = truth_folders(Path(self.given["root"][0]))
        truth = {name: truth[name] for name in self._chosen(list(truth), str)}
        check_folder(self.folder, self.given, overwrite=self.overwrite, resume=self.resume)
        pred = Path(self.given["pred"])
        predicted = truth_folders(pred / MASKS if (pred / MASKS).is_dir() else pred)  # the folder of a run will do
        results = score_folders(truth, predicted, self._choices().rules, allow_missing=True, workers=workers)
        write_report(results, score_table(results), self.folder, "Masks against the truth")
        write_run(self.folder, "eval", self.given, "done")
        return results

    def run(self, shard: str | None, where: dict) -> dict | None:
        """Measures all clips of this process; results once all clips of all processes are there, else None."""
        from sam2_hf.checkpoints.loading import load
        from sam2_hf.evaluation import runner
        from sam2_hf.evaluation.protocols import make_protocol

        clips = self._clips()
        processes = _processes(shard, where["device"])
        if processes.is_main:
            self._begin(is_shared=shard is not None)
        processes.wait()  # until the folder is as it must be
        if processes.device is not None:
            where = {**where, "device": processes.device}
        autocast = self.given["upstream"] and self._takes_autocast(where)
        if autocast:
            where = {**where, "dtype": "fp32"}
        network, processor, line = load(self.given["model"], **where)
        say = (lambda line: None) if self.quiet or not processes.is_main else (lambda line: options.say(line, False))
        say(line)
        protocol = make_protocol(self.given["protocol"], network, processor, self.folder, self._choices())
        facts = self._facts(network, line, autocast) if processes.is_main else {}
        if processes.is_main:
            write_run(self.folder, "eval", self.given, "running", **facts)
        try:
            with runner.bfloat16_autocast(network.device, autocast):
                failed = runner.measure_clips(processes.shard.of(clips), protocol, self.folder, say)
        except KeyboardInterrupt:
            if processes.is_main:
                self._interrupted(facts)
            raise
        failed = processes.all_failures(failed)
        processes.close()
        return self._finish(clips, protocol, failed, facts, shard) if processes.is_main else None

    def time(self, where: dict) -> dict:
        """Measures speed and memory on the first clip."""
        from sam2_hf.checkpoints.loading import load
        from sam2_hf.evaluation.speed import SpeedOptions, SpeedTest
        from sam2_hf.pipelines.writing.files import write_whole

        clip = self._clips()[0]
        check_folder(self.folder, self.given, overwrite=self.overwrite, resume=self.resume)
        autocast = self._takes_autocast(where)
        network, processor, line = load(self.given["model"], **where | ({"dtype": "fp32"} if autocast else {}))
        options.say(f"{line}; {clip.name}, {clip.num_frames} frames", self.quiet)
        passes = self.given["passes"]
        chosen = SpeedOptions(
            passes=passes,
            discarded=passes // 5,
            object_counts=self._numbers("objects"),
            stream_lengths=self._numbers("stream"),
            compiled=self.given["compile"],
            autocast=autocast,
        )
        frames = [clip.frame(index) for index in range(clip.num_frames)]
        record = SpeedTest(network, processor, frames, chosen).run()
        write_whole(self.folder / "results.json", json.dumps(record, indent=1).encode(), overwrite=True)
        write_run(self.folder, "eval", self.given, "done", **self._facts(network, line, autocast))
        return {"global": record, "videos": [], "excluded": [], "missing": []}

    # Steps

    def _numbers(self, name: str) -> list[int]:
        """An option of whole numbers above 0 with commas."""
        parts = [part.strip() for part in self.given[name].split(",")]
        if not all(part.isdigit() and int(part) > 0 for part in parts):
            raise typer.BadParameter(f"--{name} takes numbers with commas, got {self.given[name]!r}")
        return [int(part) for part in parts]

    def _begin(self, is_shared: bool) -> None:
        """Checks the folder and empties it of an earlier run. Jobs that share it find each other's record there."""
        is_joined = is_shared and (self.folder / RUN).exists()
        check_folder(self.folder, self.given, overwrite=self.overwrite, resume=self.resume or is_joined)
        if not (self.resume or is_shared):
            for name in (CLIPS, MASKS):
                shutil.rmtree(self.folder / name, ignore_errors=True)

    def _interrupted(self, facts: dict) -> None:
        write_run(self.folder, "eval", self.given, "interrupted", **facts)
        options.say(f"interrupted; go on with the same command and --resume --output {self.folder}", self.quiet)

    def _finish(self, clips, protocol, failed: dict, facts: dict, shard: str | None) -> dict | None:
        from sam2_hf.evaluation import report, runner

        results = runner.gather(clips, protocol, self.folder, failed)
        waiting = [entry["name"] for entry in results["missing"] if entry["name"] not in failed]
        if shard is not None and waiting:
            options.say(f"shard {shard} is done; {len(waiting)} clips of other shards are not", self.quiet)
            return None
        title = f"{self.given['protocol']} on {', '.join(self.given['root'])}"
        report.write_report(results, protocol.table(results), self.folder, title)
        report.write_worst_cases(results, clips, protocol, self.folder)
        timings = [{key: video[key] for key in ("name", "frames", "seconds")} for video in results["videos"]]
        write_run(self.folder, "eval", self.given, "done", **facts, videos=timings)
        return results

    def _clips(self) -> list:
        from sam2_hf.training.formats import open_dataset

        kind, roots = self.given["dataset"], self.given["root"]
        more = {"void_value": None} if kind == "davis" and self.given["keep_void"] else {}
        clips = []
        for root in roots:
            found = open_dataset(kind, root, **more)
            for clip in found if len(roots) > 1 else ():
                clip.name = f"{Path(root).name}/{clip.name}"
            clips += found
        return self._chosen(clips, lambda clip: clip.name)

    def _chosen(self, clips: list, name) -> list:
        from sam2_hf.evaluation.runner import choose_clips

        try:
            return choose_clips(clips, self.given["clips"], self.given["exclude"], self.given["limit"], name)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    def _choices(self):
        from sam2_hf.evaluation.folder_scores import ScoringRules
        from sam2_hf.evaluation.protocols import Choices

        given = self.given
        rules = ScoringRules(
            skip_first_and_last=not given["keep_first_last"], void=not given["keep_void"], curves=given["per_frame"]
        )
        same = ("prompt", "max_clicks", "all_masks", "upstream", "fill_hole_area", "baselines", "per_frame")
        generator = {
            "points_per_side": given["points_per_side"],
            "pred_iou_thresh": given["min_iou"],
            "stability_score_thresh": given["min_stability"],
        }
        generator = {name: value for name, value in generator.items() if value is not None}
        return Choices(rules=rules, generator=generator, **{name: given[name] for name in same})

    def _takes_autocast(self, where: dict) -> bool:
        """Whether `auto` means float32 weights with bfloat16 autocast: on CUDA, as the original is run and timed."""
        from sam2_hf.checkpoints.loading import default_placement

        device = default_placement()[0] if where["device"] == "auto" else where["device"]
        return device.startswith("cuda") and self.given["dtype"] == "auto"

    def _facts(self, network, line: str, autocast: bool) -> dict:
        from sam2_hf.checkpoints.recognise import recognise
        from sam2_hf.evaluation.run_record import library_versions, model_facts, policy_record

        size = recognise(network.state_dict()).size
        facts = {**model_facts(network, line.removeprefix("model: ")), "size": size, "autocast": autocast}
        return {"model": facts, "versions": library_versions(), "policy": policy_record(self._choices().policy)}


def _processes(shard: str | None, device: str):
    """This process's place among those that share the work."""
    from sam2_hf.evaluation.runner import OneProcess, Shard, TorchrunProcesses

    if shard is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return TorchrunProcesses(cpu=device == "cpu")
    try:
        return OneProcess(None if shard is None else Shard.parse(shard))
    except ValueError as error:
        raise typer.BadParameter(f"--shard: {error}") from error
