"""Frames that wait on disk for their file to be written."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from sam2_hf.disk.whole import naming


class Spool:
    """Records by frame number, kept on disk; of a frame that comes twice only the newer record counts.

    Iterating gives (frame, record) in the order of the frames. Memory holds one number per frame.

    Args:
        folder: where the file lies; it has no name there, so nothing stays behind if the process is killed.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `close`
        self._places: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._places)

    @property
    def frames(self) -> list[int]:
        """Frame numbers in order."""
        return sorted(self._places)

    def put(self, frame: int, record: Any) -> None:
        """Keeps a record of plain values."""
        with naming(self._folder):
            self._places[frame] = self._file.seek(0, 2)
            self._file.write(json.dumps(record, allow_nan=False).encode() + b"\n")

    def __getitem__(self, frame: int) -> Any:
        self._file.seek(self._places[frame])
        return json.loads(self._file.readline())

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        return ((frame, self[frame]) for frame in self.frames)

    def close(self) -> None:
        """Drops everything."""
        with suppress(OSError):  # a full disk: nothing of it is wanted any more
            self._file.close()
