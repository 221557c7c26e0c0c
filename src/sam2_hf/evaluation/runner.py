"""A protocol over the clips of a data set: one record per clip, written last, so that a run can stop and go on.

    <output>/clips/<name>.json      what was measured on a clip, see `clip_records`
    <output>/results.json, ...      written by one process when all clips are there

Clips are dealt round-robin to the processes of a `torchrun` or to the jobs of `--shard k/N`; what is measured on a clip
does not depend on who does it.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from sam2_hf.errors import MissingExtraError, Sam2Error
from sam2_hf.evaluation.clip_records import ClipRecords
from sam2_hf.evaluation.scores import Table


class Measurement(Protocol):
    """What a protocol is to the runner."""

    def measure(self, clip) -> dict:
        """The record of a clip: plain values, with `name`, `seconds` and `objects`."""

    def results(self, records: list[dict], missing: list[dict]) -> dict:
        """`results.json` from all records: {"global", "videos", "excluded", "missing"}."""

    def table(self, results: dict) -> Table:
        """What is written as CSV."""

    def shown(self, clip, entry: dict) -> tuple[str, np.ndarray, np.ndarray]:
        """What a contact sheet shows of an object: name of the frame, truth and prediction (height, width) bool."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """The part of the clips that one job does: every `count`-th, from `index` on."""

    index: int = 0
    count: int = 1

    def __post_init__(self):
        if not 0 <= self.index < self.count:
            raise ValueError(f"shard {self.index} of {self.count} does not exist; they are counted from 0")

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """From "k/N", k counted from 0."""
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if match is None:
            raise ValueError(f"a shard is written k/N, such as 0/4, got {text!r}")
        return cls(index=int(match[1]), count=int(match[2]))

    def of(self, clips: Sequence) -> list:
        """This job's clips."""
        return list(clips[self.index :: self.count])


def measure_clips(
    clips: Iterable,
    protocol: Measurement,
    records: ClipRecords,
    say: Callable[[str], None] = lambda line: None,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, str]:
    """Measures clips that have no record yet, until `stop` says so. Returns the reasons of those that failed."""
    failed = {}
    for clip in clips:
        if stop():
            break
        try:
            if records.read(clip) is not None:
                continue
            record = protocol.measure(clip)
        except Sam2Error as error:
            failed[clip.name] = str(error)
            say(f"{clip.name}: {error}")
            continue
        records.write(clip, record)
        say(f"{clip.name}: {len(record['objects'])} objects, {record['seconds']:.1f} s")
    return failed


def bfloat16_autocast(device: torch.device, enabled: bool) -> torch.autocast:
    """Products in bfloat16 with float32 weights, as the released numbers were made; or nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def gather(clips: Iterable, protocol: Measurement, records: ClipRecords, failed: dict[str, str]) -> dict:
    """Results of all clips that have a record; the others are listed as missing."""
    found, missing = [], []
    for clip in clips:
        record = None if clip.name in failed else records.read(clip)
        if record is not None:
            found.append(record)
        else:
            missing.append({"name": clip.name, "reason": failed.get(clip.name, "not measured yet")})
    return protocol.results(found, missing)


def choose_clips(
    clips: Sequence, only: Sequence[str], exclude: Sequence[str], limit: int | None, name_of: Callable
) -> list:
    """Clips by name; a name of a folder stands for all in it.

    Raises:
        ValueError: a name that fits no clip.
    """
    names = [name_of(clip) for clip in clips]
    for wanted in (*only, *exclude):
        if not any(_is_in(name, wanted) for name in names):
            raise ValueError(f"there is no clip {wanted!r}; the first are {', '.join(names[:8])}")
    chosen = [clip for clip in clips if not only or any(_is_in(name_of(clip), name) for name in only)]
    chosen = [clip for clip in chosen if not any(_is_in(name_of(clip), name) for name in exclude)]
    return chosen[:limit]


def _is_in(name: str, wanted: str) -> bool:
    return name == wanted or name.startswith(f"{wanted}/")


class OneProcess:
    """This process alone, or one job of several that know nothing of each other."""

    is_main, device = True, None

    def __init__(self, shard: Shard | None = None):
        self.shard = Shard() if shard is None else shard

    def wait(self) -> None:
        """Nobody to wait for."""

    def agree(self, value: str) -> str:
        """The value of the main process."""
        return value

    def all_failures(self, failed: dict[str, str]) -> dict[str, str]:
        """Failures of all processes."""
        return failed

    def close(self) -> None:
        """Nothing to end."""


class TorchrunProcesses:
    """The processes of a `torchrun`, each with a device of its own.

    Args:
        cpu: stay on the CPU.
    """

    def __init__(self, cpu: bool):
        try:
            from accelerate import PartialState
        except ImportError as error:
            raise MissingExtraError('several processes need accelerate: pip install "sam2_hf[train]"') from error
        self._state = PartialState(cpu=cpu)
        self.shard = Shard(index=self._state.process_index, count=self._state.num_processes)
        self.is_main = self._state.is_main_process
        self.device = str(self._state.device)

    def wait(self) -> None:
        """Returns once all processes have come here."""
        self._state.wait_for_everyone()

    def agree(self, value: str) -> str:
        """The value of the main process."""
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]

    def all_failures(self, failed: dict[str, str]) -> dict[str, str]:
        """Failures of all processes, once all have come here."""
        from accelerate.utils import gather_object

        return dict(gather_object(list(failed.items())))

    def close(self) -> None:
        """Ends the group of processes."""
        self._state.destroy_process_group()
