"""The work of `sam2-hf predict`: picture by picture, with records to resume by and an end on request."""

import json
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from sam2_hf.cli.interruption import Interruption
from sam2_hf.cli.options import in_options
from sam2_hf.cli.output_names import plain_name
from sam2_hf.cli.predict_outputs import PROMPTS, PredictOutputs
from sam2_hf.cli.predict_records import PictureRecords
from sam2_hf.cli.run_folder import write_run
from sam2_hf.errors import OutputExistsError, Sam2Error

FAILURES = (Sam2Error, ValueError, OverflowError)  # of one picture; a full disk or missing memory ends the run


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictSettings:
    """How a job is run; nothing here changes what it finds, but the filters.

    Attributes:
        filters: arguments of `ImageResult.filter`.
        batch_size: pictures that are encoded together.
        workers: threads that read pictures ahead.
        show: open each overlay in the system's viewer.
    """

    filters: dict
    batch_size: int = 1
    workers: int = 2
    show: bool = False
    overwrite: bool = False
    resume: bool = False
    bar: bool = True
    quiet: bool = False
    verbose: bool = False


class PredictJob:
    """One run of the command.

    Args:
        pictures: `sam2_hf.pipelines.reading.sources.Pictures`.
        names: from the key of each picture that is known before the run to its name in the output.
        outputs: what is written.
        given: the options that a resumed run must share.
        settings: `PredictSettings`.
        requests: prompts that hold for every picture, for `prompts.json`.

    Attributes:
        failed: from the source of each picture that failed to its error.
        counts: pictures done in this run and before, and objects found in this run.
    """

    def __init__(
        self,
        pictures,
        names: dict[str, str],
        outputs: PredictOutputs,
        given: dict,
        settings: PredictSettings,
        requests: Sequence = (),
    ):
        self.requests = requests
        self.pictures, self.names, self.outputs, self.given, self.settings = pictures, names, outputs, given, settings
        self.folder = outputs.folder
        self.failed: dict[str, str] = {}
        self.counts = Counter({"pictures": 0, "done": 0, "resumed": 0, "objects": 0})
        self.timings: Counter = Counter()
        self.classes: Counter = Counter()
        self._order: list[str] = []

    def run(self, method: Callable) -> str:
        """Segments all pictures that are not done.

        Args:
            method: from pictures and their items to an `ImageResult` of each.

        Returns:
            "done", or "interrupted" after the picture at hand.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        records = PictureRecords(self.folder, resume=self.settings.resume)
        self._write_run("running")
        status = "failed"
        try:
            with Interruption() as interruption:
                reached = self._all(method, records, interruption)
            records.close(self._order if reached == "done" else None)
            if reached == "done":
                self.outputs.finish(records, self.pictures.classes)
                self._write_prompts(records)
            status = reached
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        finally:
            records.close()
            self._write_run(status)
        return status

    def table(self) -> list[str]:
        """Lines for people: what the time went to, what was found, what failed."""
        lines = []
        if self.counts["done"]:
            spent = ", ".join(f"{stage} {total / self.counts['done']:.0f}" for stage, total in self.timings.items())
            lines.append(f"objects: {self.counts['objects']}; ms per picture: {spent}")
            if not self.counts["objects"]:
                lines.append("nothing was found; more is kept with lower --min-iou, --min-stability and --min-area")
        if self.classes:
            lines.append("classes: " + ", ".join(f"{count} {name}" for name, count in self.classes.most_common()))
        if self.failed:
            lines.append(f"failed: {', '.join(self.failed)}")
        return lines

    def say(self, line: str) -> None:
        """A line for people, above the bar if there is one."""
        from tqdm import tqdm

        if not self.settings.quiet:
            tqdm.write(line, file=sys.stderr)

    def _all(self, method: Callable, records: PictureRecords, interruption: Interruption) -> str:
        from tqdm import tqdm

        from sam2_hf.pipelines.reading.read_ahead import read_ahead

        bar = None if self.settings.bar else True  # None: only in a terminal
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
        for file in files:
            self.say(str(file))
        self.say(f"{item.source}: {replace(result, timings=spent).summary()}")
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
        from sam2_hf.pipelines.records import class_numbers

        labels = labels if len(labels) == len(result) else labels[:1] * len(result)
        return replace(result, labels=labels, class_ids=class_numbers(labels, self.pictures.classes))

    def _name(self, item) -> str:
        """The name that was decided before the run; a picture that streamed in is named by its key."""
        from sam2_hf.pipelines.reading.picture_items import PICTURE_SUFFIXES

        if item.key in self.names:
            return self.names[item.key]
        name = plain_name(item.key, PICTURE_SUFFIXES)
        taken = next((file for file in self.outputs.files(name).values() if file.exists()), None)
        if taken is not None and not (self.settings.overwrite or self.settings.resume):
            raise OutputExistsError(f"{taken}: exists already; pass --overwrite or another --output")
        return name

    def _note_failure(self, item, error: Exception) -> None:
        self.failed[item.source] = str(error)
        self.say(str(error) if str(error).startswith(item.source) else f"{item.source}: {error}")
        if self.settings.verbose:
            traceback.print_exception(error)

    def _write_prompts(self, records: PictureRecords) -> None:
        """The prompts of this run in original pixels, for another run or the browser.

        Fractions of several pictures have none in common, and are not written.
        """
        from sam2_hf.pipelines.prompt_file import prompt_record
        from sam2_hf.pipelines.writing.files import write_whole

        sizes = {(line["height"], line["width"]) for line in records}
        if not self.requests or not sizes or (self.given["normalized"] and len(sizes) > 1):
            return
        size = next(iter(sizes)) if len(sizes) == 1 else None
        requests = [entry.in_pixels(size) for entry in self.requests] if self.given["normalized"] else self.requests
        facts = {} if size is None else {"height": size[0], "width": size[1], "frames": 1}
        if self.counts["pictures"] == 1:
            facts["name"] = Path(self._order[0]).name
        record = prompt_record(requests, model=self.given["model"], source=facts)
        write_whole(self.folder / PROMPTS, json.dumps(record, indent=1).encode(), overwrite=True)

    def _write_run(self, status: str) -> None:
        from sam2_hf.evaluation.run_record import library_versions

        facts = {"argv": sys.argv[1:], "versions": library_versions(), "counts": dict(self.counts)}
        facts |= {"classes": dict(self.classes), "timings_ms": {k: round(v, 3) for k, v in self.timings.items()}}
        write_run(self.folder, "predict", self.given, status, **facts, failed=self.failed)


def _milliseconds_since(begun: float) -> float:
    return round(1000 * (time.perf_counter() - begun), 3)
