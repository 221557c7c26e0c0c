"""Results of a video as lines of a file, written as they are made and read one at a time."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from sam2_hf.disk.whole import announce, naming
from sam2_hf.pipelines.video import VideoFrameResult


class Jsonl:
    """One record per frame, written as it happens; the file that a resumed run goes on from.

    A frame that comes again is a further line: the last one counts.

    Args:
        keep: lines of an earlier part that stay.
    """

    def __init__(self, path: str | Path, keep: int = 0):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        announce(self.path)
        self._file = self.path.open("r+b" if keep else "wb")
        for _ in range(keep):
            self._file.readline()
        self._file.truncate(self._file.tell())

    def write(self, result: VideoFrameResult) -> None:
        with naming(self.path):
            self._file.write(json.dumps({**result.to_dict(), "timings": {}}).encode() + b"\n")
            self._file.flush()

    def close(self) -> None:
        with naming(self.path):
            self._file.close()


class WrittenResults:
    """Results that `Jsonl` wrote, read one at a time; a line that was being written when the run was stopped ends them.

    Args:
        path: of the file.
        count: how many of them; None for all.
    """

    def __init__(self, path: str | Path, count: int | None = None):
        self.path = Path(path)
        self.count = sum(1 for _ in self._read(None)) if count is None else count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[VideoFrameResult]:
        return self._read(self.count)

    def first(self, count: int) -> "WrittenResults":
        """So many of them from the start."""
        return WrittenResults(self.path, count)

    def _read(self, count: int | None) -> Iterator[VideoFrameResult]:
        with self.path.open() as file:
            for line in islice(file, count):
                try:
                    yield VideoFrameResult.from_dict(json.loads(line))
                except json.JSONDecodeError:
                    return
