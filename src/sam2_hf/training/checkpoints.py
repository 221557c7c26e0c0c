"""What a run leaves on disk: a state to resume from, the model so far, and a log."""

import json
import os
from pathlib import Path

import torch

from sam2_hf.errors import OutputExistsError, SourceError
from sam2_hf.training.config import TrainConfig

STATE, LOG, CONFIG, MODEL, BEST = "checkpoint.pt", "log.jsonl", "config.json", "model", "best"
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


class RunFolder:
    """The folder of one run.

    Args:
        path: created if it is not there.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def open(self, config: TrainConfig, resume: bool) -> dict | None:
        """Prepares the folder and returns the state to go on from, None for a new run.

        Raises:
            OutputExistsError: there is a run already, or one with another configuration.
            SourceError: nothing to resume.
        """
        state = self.path / STATE
        if resume:
            if not state.exists():
                raise SourceError(f"{self.path}: there is no {STATE} to resume from; leave out --resume")
            self._check_same(config)
            return torch.load(state, map_location="cpu", weights_only=True)
        if (self.path / CONFIG).exists():
            raise OutputExistsError(f"{self.path}: holds a run already; resume it, or choose another output")
        self.path.mkdir(parents=True, exist_ok=True)
        write_aside(self.path / CONFIG, config.to_json().encode())
        return None

    def _check_same(self, config: TrainConfig) -> None:
        before, now = json.loads((self.path / CONFIG).read_text()), json.loads(config.to_json())
        changed = [name for name in now if name not in MAY_CHANGE and before.get(name) != now[name]]
        if changed:
            name = changed[0]
            raise OutputExistsError(
                f"{self.path}: was made with {name}={before.get(name)!r}, now {now[name]!r}; use another output"
            )

    def save(self, state: dict) -> None:
        """Writes the state aside and renames it, so that a kill leaves the one before."""
        part = self.path / f"{STATE}.part"
        torch.save(state, part)
        os.replace(part, self.path / STATE)

    def log(self, record: dict) -> None:
        with (self.path / LOG).open("a") as file:
            file.write(json.dumps(record) + "\n")

    def cut_log(self, step: int) -> None:
        """Drops records after a step, which a resumed run will write again."""
        path = self.path / LOG
        if path.exists():
            kept = [line for line in path.read_text().splitlines() if _step(line) <= step]
            write_aside(path, "".join(f"{line}\n" for line in kept).encode())


def _step(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError):
        return float("inf")  # the line that was being written when the run was killed


def write_aside(path: Path, data: bytes) -> None:
    """Writes a file under another name first, so that it is never there in part."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)
