"""Results of a video as lines of a file, written as they are made and read one at a time."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from sam2_hf.disk.whole import announce, naming
from sam2_hf.pipelines.records import UNREADABLE
from sam2_hf.pipelines.video import VideoFrameResult
from sam2_hf.pipelines.writing.missing_frames import MissingFrame


class Jsonl:
    """One record per frame, written as it happens; the file that a resumed run goes on from.

    A frame that comes again is a further line: the last one counts.

    Args:
        keep: results of an earlier part that stay, with the lines of missing frames among them.
    """

    def __init__(self, path: str | Path, keep: int = 0):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        announce(self.path)
        self._file = self.path.open("r+b" if keep else "wb")
        while keep:
            keep -= json.loads(self._file.readline())["status"] != UNREADABLE
        self._file.truncate(self._file.tell())

    def write(self, result: VideoFrameResult) -> None:
        self._put({**result.to_dict(), "timings": {}})

    def skip(self, frame: MissingFrame) -> None:
        """Writes the record of a frame that cannot be read."""
        self._put(frame.to_dict())

    def close(self) -> None:
        with naming(self.path):
            self._file.close()

    def _put(self, record: dict) -> None:
        with naming(self.path):
            self._file.write(json.dumps(record).encode() + b"\n")
            self._file.flush()


class WrittenResults:
    """Results that `Jsonl` wrote, read one at a time, without the records of missing frames.

    A line that was being written when the run was stopped ends them.

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
        return islice(self._results(), count)

    def _results(self) -> Iterator[VideoFrameResult]:
        with self.path.open() as file:
            for line in file:
                try:
                    record = json.loads(line)
                except json.JSONDecodeError:
                    return
                if record.get("status") != UNREADABLE:
                    yield VideoFrameResult.from_dict(record)
