"""A run over pictures: picture by picture, with records to resume by and an end on request."""

import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from sam2_hf.disk.whole import write_json
from sam2_hf.errors import OutputExistsError, Sam2Error
from sam2_hf.evaluation.run_record import library_versions
from sam2_hf.pipelines.prompt_file import prompt_record
from sam2_hf.pipelines.reading.picture_items import PICTURE_SUFFIXES
from sam2_hf.pipelines.reading.read_ahead import read_ahead
from sam2_hf.pipelines.records import class_numbers
from sam2_hf.runs.interruption import Interruption, status_of
from sam2_hf.runs.memory import WithinMemory
from sam2_hf.runs.model import RunModel, load_model
from sam2_hf.runs.output_names import plain_name
from sam2_hf.runs.predict_methods import method_of
from sam2_hf.runs.predict_outputs import PROMPTS
from sam2_hf.runs.predict_plan import PredictPlan, plan_of
from sam2_hf.runs.predict_records import PictureRecords
from sam2_hf.runs.predict_settings import PredictSettings
from sam2_hf.runs.random_numbers import seed_all
from sam2_hf.runs.settings import in_options

FAILURES = (Sam2Error, ValueError, OverflowError)  # of one picture; a full disk or missing memory ends the run
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class PredictOutcome:
    """How a run ended.

    Attributes:
        folder: where everything is.
        status: "done" or "interrupted".
        counts: `pictures` of the sources (of those seen, where their number is not known), `done` in this run,
            `resumed` from the run before, `objects` found in this run.
        classes: objects of each class.
        failed: from the source of each picture that failed to its error.
        timings: milliseconds of all pictures of this run, by stage.
    """

    folder: Path
    status: str
    counts: dict[str, int]
    classes: dict[str, int]
    failed: dict[str, str]
    timings: dict[str, float]


def predict(
    settings: PredictSettings, *, say: Say = lambda line: None, bar: bool = False, verbose: bool = False
) -> PredictOutcome:
    """Segments pictures and writes what was found.

    Args:
        say: called with lines for people.
        bar: show progress where there is a terminal.
        verbose: print the traceback of a picture that failed.

    Raises:
        PromptError, SourceError, ConfigError: what cannot be meant, or no picture.
        OutputExistsError: the folder holds another run, is in use, or has a file in the way.
        ConfigChangedError: the run to be resumed was begun with other settings, prompts or weights.
        CheckpointError: the model cannot be loaded.
        MemoryError: a picture does not fit even object by object.
    """
    return run_plan(plan_of(settings), say=say, bar=bar, verbose=verbose)


def run_plan(
    plan: PredictPlan, *, say: Say = lambda line: None, bar: bool = False, verbose: bool = False
) -> PredictOutcome:
    """As `predict`, after a plan was made."""
    settings = plan.settings
    with plan.folder.locked():
        plan.check()
        model = load_model(settings, plan.folder, keep=settings.resume)
        say(model.line)
        seed_all(settings.seed)
        return _Job(plan, model, say=say, bar=bar, verbose=verbose).run()


class _Job:
    def __init__(self, plan: PredictPlan, model: RunModel, *, say: Say, bar: bool, verbose: bool):
        self.plan, self.model, self.verbose = plan, model, verbose
        self.settings, self.pictures, self.outputs = plan.settings, plan.pictures, plan.outputs
        self.folder, self._tell, self.bar = plan.folder, say, bar
        self.failed: dict[str, str] = {}
        self.counts = Counter({"pictures": 0, "done": 0, "resumed": 0, "objects": 0})
        self.timings: Counter = Counter()
        self.classes: Counter = Counter()
        self._order: list[str] = []
        self._taken: dict[str, str] = {name: "" for name in plan.names.values()}

    def run(self) -> PredictOutcome:
        """Segments all pictures that are not done."""
        method = WithinMemory(
            method_of(self.settings, self.model.network, self.model.processor), self.settings.object_batch, self.say
        )
        self.folder.begin(keep=self.settings.resume, **self._facts())
        records = PictureRecords(self.folder.path, resume=self.settings.resume)
        try:
            with Interruption() as interruption:
                status = self._all(method, records, interruption)
            records.close(self._order if status == "done" else None)
            if status == "done":
                self.outputs.finish(records, self.pictures.classes)
                self._write_prompts(records)
        except BaseException as error:
            with suppress(OSError):  # a full disk: the first error is the one to be told
                records.close()
                self.folder.write(status_of(error), **self._facts(), error=str(error))
            raise
        self.folder.write(status, **self._facts())
        return PredictOutcome(
            folder=self.folder.path,
            status=status,
            counts=self._counts(),
            classes=dict(self.classes),
            failed=self.failed,
            timings=dict(self.timings),
        )

    def say(self, line: str) -> None:
        """A line for people, above the bar if there is one."""
        with tqdm.external_write_mode(file=sys.stderr):
            self._tell(line)

    def _all(self, method: Callable, records: PictureRecords, interruption: Interruption) -> str:
        bar = None if self.bar and self.pictures.length != 1 else True  # None: only in a terminal
        with tqdm(total=self.pictures.length, disable=bar, unit="picture") as progress:
            waiting = read_ahead(self._waiting(records, progress), self.settings.workers)
            with closing(waiting):
                while batch := list(islice(waiting, self.settings.batch_size)):
                    for item, found in zip((item for item, _ in batch), self._found(batch, method), strict=True):
                        self._one(item, found, records)
                        progress.update()
                    if interruption.requested:
                        return "interrupted"
        return "done"

    def _waiting(self, records: PictureRecords, progress):
        """Items that have no record yet."""
        for item in self.pictures:
            self._order.append(item.source)
            self.counts["pictures"] += 1
            if item.source in records.done:
                self.counts["resumed"] += 1
                progress.update()
            else:
                yield item

    def _found(self, batch: list[tuple], method: Callable) -> list:
        """The result of each picture, or the error that it made: one picture does not fail the others."""
        readable = [(item, picture) for item, picture in batch if not isinstance(picture, Sam2Error)]
        begun = time.perf_counter()
        try:
            items, pictures = ([pair[side] for pair in readable] for side in (0, 1))
            results = method(pictures, items) if readable else []
        except FAILURES as error:
            results = [error] if len(readable) == 1 else [self._found([pair], method)[0] for pair in readable]
        spent = {"segment": _milliseconds_since(begun) / max(len(readable), 1)}
        timed = iter(r if isinstance(r, Exception) or r.timings else replace(r, timings=spent) for r in results)
        return [picture if isinstance(picture, Sam2Error) else next(timed) for _, picture in batch]

    def _one(self, item, found, records: PictureRecords) -> None:
        """Writes the result of one picture, or notes its error."""
        try:
            if isinstance(found, Exception):
                raise found
            name = self._name(item)
            spent = found.timings
            result = self._result(item, found)
            begun = time.perf_counter()
            files = self.outputs.write(result, name)
        except FAILURES as error:
            self._note_failure(item, error)
            return
        records.add(result, key=item.key, name=name, files=files)
        self.timings.update({**spent, "write": _milliseconds_since(begun)})
        self.counts["done"] += 1
        self.counts["objects"] += len(result)
        self.classes.update(label for label in result.labels if label is not None)
        told = f"{item.source}: {replace(result, timings=spent).summary()}"
        written = ", ".join(file.relative_to(self.folder.path).as_posix() for file in files)
        self.say(f"{told} -> {written}" if written else told)
        if found.why_empty is not None:
            self.say(f"{item.source}: nothing was found: {in_options(found.why_empty)}")
        if self.settings.show:
            self.outputs.overlay(result).show()

    def _result(self, item, result):
        """What is written: of the item's source and classes, filtered, without times, which are never twice alike."""
        if item.labels:
            result = self._labelled(item.labels, result)
        return replace(result, source=item.source, timings={}).filter(**self.settings.filters)

    def _labelled(self, labels: tuple[str | None, ...], result):
        """The result with the classes of its list: one per box, or one for all objects of the picture."""
        labels = labels if len(labels) == len(result) else labels[:1] * len(result)
        return replace(result, labels=labels, class_ids=class_numbers(labels, self.pictures.classes))

    def _name(self, item) -> str:
        """The name that was decided before the run; a picture that streamed in is named by its key."""
        if item.key in self.plan.names:
            return self.plan.names[item.key]
        name = plain_name(item.key, PICTURE_SUFFIXES)
        if self._taken.setdefault(name, item.source) != item.source:
            raise OutputExistsError(f"{name}: two pictures of one name; segment them in two runs")
        for file in self.outputs.files(name).values():
            if file.exists() and not self._is_ours(file):
                raise OutputExistsError(f"{file}: exists already; choose another --output")
        return name

    def _is_ours(self, file: Path) -> bool:
        return file.relative_to(self.folder.path).as_posix() in self.folder.written

    def _note_failure(self, item, error: Exception) -> None:
        self.failed[item.source] = str(error)
        self.say(str(error) if str(error).startswith(item.source) else f"{item.source}: {error}")
        if self.verbose:
            traceback.print_exception(error)

    def _write_prompts(self, records: PictureRecords) -> None:
        """The prompts of this run, for another run or the browser: pixels where all pictures have one size.

        Fractions of pictures of several sizes stay fractions.
        """
        sizes = {(line["height"], line["width"]) for line in records}
        if not self.settings.requests or not sizes:
            return
        size = next(iter(sizes)) if len(sizes) == 1 else None
        requests, normalized = list(self.settings.requests), self.settings.normalized
        if normalized and size is not None:
            requests, normalized = [entry.in_pixels(size) for entry in requests], False
        facts = {} if size is None else {"height": size[0], "width": size[1], "frames": 1}
        if self.counts["pictures"] == 1:
            facts["name"] = Path(self._order[0]).name
        record = prompt_record(requests, model=self.settings.model, source=facts, normalized=normalized)
        write_json(self.folder.path / PROMPTS, record)

    def _counts(self) -> dict[str, int]:
        total = self.counts["pictures"] if self.pictures.length is None else self.pictures.length
        return {**self.counts, "pictures": total}

    def _facts(self) -> dict:
        """For `run.json`."""
        timings = {stage: round(spent, 3) for stage, spent in self.timings.items()}
        return {
            "argv": sys.argv[1:],
            "versions": library_versions(),
            "model": self.model.facts,
            "counts": self._counts(),
            "classes": dict(self.classes),
            "timings_ms": timings,
            "failed": self.failed,
        }


def outcome_lines(outcome: PredictOutcome) -> list[str]:
    """Lines for people: what the time went to, what was found, what failed."""
    lines, counts = [], outcome.counts
    if counts["done"]:
        spent = ", ".join(f"{stage} {total / counts['done']:.0f}" for stage, total in outcome.timings.items())
        lines.append(f"objects: {counts['objects']}; ms per picture: {spent}")
        if not counts["objects"]:
            lines.append("nothing was found; more is kept with lower --min-iou, --min-stability and --min-area")
    if outcome.classes:
        most = Counter(outcome.classes).most_common()
        lines.append("classes: " + ", ".join(f"{count} {name}" for name, count in most))
    if outcome.failed:
        lines.append(f"failed: {', '.join(outcome.failed)}")
    return lines


def _milliseconds_since(begun: float) -> float:
    return round(1000 * (time.perf_counter() - begun), 3)
