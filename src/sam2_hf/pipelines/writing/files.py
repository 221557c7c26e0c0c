"""Files that get their name only once they are complete, and frames that wait on disk for their file to be written."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from sam2_hf.errors import OutputExistsError


def check_free(path: Path, overwrite: bool) -> None:
    """Refuses a file that exists, or a folder with something in it, unless it may be overwritten.

    Raises:
        OutputExistsError: it exists and `overwrite` is False.
    """
    is_taken = any(path.iterdir()) if path.is_dir() else path.exists()
    if is_taken and not overwrite:
        raise OutputExistsError(f"{path}: exists already; pass overwrite=True or choose another name")


def write_whole(path: Path, data: bytes, overwrite: bool) -> Path:
    """Writes a file that has its name only once it is complete."""
    check_free(path, overwrite)
    with whole_file(path, "wb") as file:
        file.write(data)
    return path


@contextmanager
def whole_file(path: Path, mode: str = "w") -> Iterator[IO]:
    """A file to write to; it takes the place of an earlier one when it is closed without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
    is_text = "b" not in mode
    try:
        with part.open(mode, encoding="utf-8" if is_text else None, newline="" if is_text else None) as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def part_of(path: Path) -> Path:
    """The hidden name of a file that is being written; it keeps the suffix, which some writers look at."""
    return path.with_name(f".{path.stem}.part{path.suffix}")


def name_of(source: str | None) -> str:
    """The file name of a path or an address; empty for None."""
    if source is None:
        return ""
    return Path(urlsplit(source).path if "://" in source else source).name


class Spool:
    """Records by frame number, kept on disk; of a frame that comes twice only the newer record counts.

    Iterating gives (frame, record) in the order of the frames. Memory holds one number per frame.

    Args:
        folder: where the file lies; it has no name there, so nothing stays behind if the process is killed.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
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
        self._places[frame] = self._file.seek(0, 2)
        self._file.write(json.dumps(record, allow_nan=False).encode() + b"\n")

    def __getitem__(self, frame: int) -> Any:
        self._file.seek(self._places[frame])
        return json.loads(self._file.readline())

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        return ((frame, self[frame]) for frame in self.frames)

    def close(self) -> None:
        """Drops everything."""
        self._file.close()
