"""What a run leaves on disk: a state to resume from, the model so far, and a log."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError

import torch
from transformers.utils import logging

from sam2_hf.disk.run_folder import Inputs, RunFolder
from sam2_hf.disk.whole import announce, naming, whole_file, whole_folder, write_whole
from sam2_hf.errors import SourceError
from sam2_hf.training.config import DataConfig, TrainConfig
from sam2_hf.training.former import without_former

logger = logging.get_logger(__name__)

STATE, LOG, CONFIG, MODEL, BEST = "checkpoint.pt", "log.jsonl", "config.json", "model", "best"
CURVES, EXAMPLES = "curves.png", "examples.png"  # what those draw who watch the run
MAY_CHANGE = (
    "output",
    "workers",
    "cache",
    "save_every",
    "log_every",
    "validate_every",
    "trackers",
    "epochs",
    "max_steps",
)


class TrainingFolder:
    """The folder of one run: a `RunFolder` with states, a log and models in it.

    Args:
        config: of the run.
    """

    def __init__(self, config: TrainConfig):
        self.path = Path(config.output)
        self._config = config
        values = json.loads(config.to_json())
        self._run = RunFolder(self.path, "train", {name: values[name] for name in values if name not in MAY_CHANGE})

    @contextmanager
    def opened(self, resume: bool, overwrite: bool) -> Iterator[dict | None]:
        """Keeps other runs out, and gives the state to go on from; None for a run from the start.

        A run that was stopped before it saved anything may be begun again, with or without `resume`.

        Raises:
            ConfigChangedError: the run to be resumed was begun with another configuration.
            OutputExistsError: there is a run with a saved state, none to resume, or a file in the way.
            SourceError: the saved state cannot be read.
        """
        with self._run.locked():
            self.check(resume, overwrite)
            state = self.state() if resume else None
            if resume and state is None:
                logger.warning(f"{self.path}: was stopped before its first {STATE}; beginning again")
            self._run.begin(keep=state is not None)
            write_whole(self.path / CONFIG, self._config.to_json().encode(), overwrite=True)
            yield state

    def check(self, resume: bool, overwrite: bool) -> None:
        """Refuses as `opened` does, and changes nothing."""
        self._adopt_older()
        has_state = bool(self._run.earlier) and (self.path / STATE).exists()
        may_begin_again = bool(self._run.earlier) and not has_state and not resume  # nothing is lost
        self._run.check(
            overwrite=overwrite or may_begin_again,
            resume=resume,
            planned=[self.path / name for name in (CONFIG, STATE, LOG, MODEL, BEST, CURVES, EXAMPLES)],
            inputs=_inputs(self._config),
        )

    def state(self) -> dict | None:
        """The saved state; None if there is none.

        Raises:
            SourceError: it cannot be read.
        """
        path = self.path / STATE
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except (RuntimeError, EOFError, UnpicklingError) as error:
            raise SourceError(f"{path}: cannot be read ({str(error).splitlines()[0]}); train anew") from error

    def _adopt_older(self) -> None:
        """A run that was begun by an earlier version: with fields that are no more, or before runs had a `run.json`."""
        if self._run.earlier:
            self._run.earlier["options"] = without_former(self._run.earlier["options"])
        if self._run.earlier or not (self.path / CONFIG).exists() or not (self.path / STATE).exists():
            return
        try:
            values = json.loads((self.path / CONFIG).read_text())
        except ValueError:
            return
        files = [self.path / name for name in (CONFIG, STATE, LOG)]
        files += [file for name in (MODEL, BEST) for file in (self.path / name).glob("*")]
        values = {name: value for name, value in without_former(values).items() if name not in MAY_CHANGE}
        self._run.adopt(values, files)

    def end(self, status: str, **facts) -> None:
        """Notes in `run.json` how the run ended."""
        self._run.write(status, **facts)

    def save(self, state: dict) -> None:
        """Writes the state; a kill or a full disk leaves the one before."""
        path = self.path / STATE
        with whole_file(path, "wb") as file:
            watched = _Watched(file)
            try:
                torch.save(state, watched)
            except RuntimeError as error:  # PyTorch tells of a position in the file instead of the disk
                if watched.error is None:
                    raise
                raise watched.error from error

    def save_model(self, name: str, write: Callable[[Path], None]) -> None:
        """Writes a folder of a model, one whole file after the other."""
        with whole_folder(self.path / name) as part:
            write(part)

    def log(self, record: dict) -> None:
        """Appends a line."""
        path = self.path / LOG
        announce(path)
        with naming(path), path.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def cut_log(self, step: int, validated: int) -> None:
        """Drops records that a resumed run will write again: after a step, and of validations after another one."""
        path = self.path / LOG
        if path.exists():
            limits = {True: max(validated, 0), False: step}  # step 0: before the run
            kept = [line for line in path.read_text().splitlines() if _step(line) <= limits['"validation"' in line]]
            write_whole(path, "".join(f"{line}\n" for line in kept).encode(), overwrite=True)

    def records(self) -> list[dict]:
        """The log so far, without a line that was being written when the run was killed."""
        path = self.path / LOG
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if math.isfinite(_step(line))]

    def last_validation(self) -> int:
        """The step of the last validation in the log; -1 if there is none."""
        return max((int(record["step"]) for record in self.records() if "validation" in record), default=-1)


class _Watched:
    """A file that remembers why it could not be written."""

    def __init__(self, file):
        self._file, self.error = file, None

    def write(self, data) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def _inputs(config: TrainConfig) -> Inputs:
    """What a run reads: its data sets, files of its own, and the model it starts from."""

    def roots(entries: tuple[DataConfig, ...]) -> Iterator[str | None]:
        for entry in entries:
            yield entry.root
            yield from roots(entry.library)

    loss = None if config.extra_loss is None else config.extra_loss.root
    return Inputs.of(config.model, loss, *roots(config.data), *roots(config.validation))


def _step(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError):
        return float("inf")  # the line that was being written when the run was killed
