"""Files that get their name only once they are complete. Everything that the package writes goes through here."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sam2_hf.errors import OutputExistsError

NAME_BYTES = 255  # of one file name, on the file systems in use
MARK = ".part"
LONGEST_SUFFIX = 16
DIGEST = 12  # letters

_listeners: list[Callable[[Path], None]] = []


def check_free(path: Path, overwrite: bool) -> None:
    """Refuses a file that exists, or a folder with something in it, unless it may be overwritten.

    Raises:
        OutputExistsError: it exists and `overwrite` is False.
    """
    is_taken = any(path.iterdir()) if path.is_dir() else path.exists()
    if is_taken and not overwrite:
        raise OutputExistsError(f"{path}: exists already; pass overwrite=True or choose another name")


def write_whole(path: Path, data: bytes, overwrite: bool) -> Path:
    """Writes a file that has its name only once it is complete.

    Raises:
        OutputExistsError: it exists and `overwrite` is False.
        OSError: it cannot be written; the error names it, and an earlier file is as it was.
    """
    check_free(path, overwrite)
    with whole_file(path, "wb") as file:
        file.write(data)
    return path


def write_json(path: Path, record: Any) -> Path:
    """Writes plain values as JSON, in place of an earlier file."""
    return write_whole(path, json.dumps(record, indent=1).encode(), overwrite=True)


@contextmanager
def whole_file(path: Path, mode: str = "w", own: bool = False) -> Iterator[IO]:
    """A file to write to; it takes the place of an earlier one when it is closed without an error.

    Args:
        own: under a hidden name of this process's own, because other processes may write the same file.
    """
    with whole_path(path, own) as part:
        is_text = "b" not in mode
        with part.open(mode, encoding="utf-8" if is_text else None, newline="" if is_text else None) as file:
            yield file


@contextmanager
def whole_path(path: Path, own: bool = False) -> Iterator[Path]:
    """The hidden name under which a file is written that takes its own name at the end, if there was no error."""
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = part_of(path.with_name(f"{os.getpid()}-{path.name}") if own else path)
        announce(path)
        try:
            yield part
            put_in_place(part, path)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A hidden folder to write to; at the end, if there was no error, each of its files takes its place in `path`.

    Files of `path` that are not written again stay.
    """
    part = part_of(path)
    shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
    with naming(path):
        part.mkdir(parents=True)
        try:
            yield part
            for file in sorted(entry for entry in part.rglob("*") if entry.is_file()):
                target = path / file.relative_to(part)
                target.parent.mkdir(parents=True, exist_ok=True)
                put_in_place(file, target)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def put_in_place(part: Path, path: Path) -> None:
    """Gives a finished file its name."""
    announce(path)
    part.replace(path)


def part_of(path: Path) -> Path:
    """The hidden name of a file that is being written; it keeps the suffix, which some writers look at.

    A name that would be longer than file systems take is replaced by a digest of it.
    """
    suffix = path.suffix if len(path.suffix.encode()) <= LONGEST_SUFFIX else ""
    name = f".{path.stem}{MARK}{suffix}"
    if len(name.encode()) > NAME_BYTES:
        name = f".{hashlib.sha256(path.name.encode()).hexdigest()[:24]}{MARK}{suffix}"
    return path.with_name(name)


def fitting(name: str, spare: int = 0) -> str:
    """A name whose last part a file system takes with so many bytes after it; a longer one is cut and gets a digest."""
    parent, slash, last = name.rpartition("/")
    room = NAME_BYTES - spare
    if len(last.encode()) <= room:
        return name
    digest = hashlib.sha256(last.encode()).hexdigest()[:DIGEST]
    kept = last.encode()[: room - DIGEST - 1].decode(errors="ignore")
    return f"{parent}{slash}{kept}-{digest}"


def is_here(name: str | Path) -> bool:
    """Whether a file or folder exists; what cannot be the name of one does not."""
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # too long, or with a zero in it
        return False


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the disk name the file: a full disk, a quota, a card that was pulled."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror or errno.errorcode.get(error.errno, "?"), str(path)) from error


def announce(path: Path) -> None:
    """Tells those who keep account that a file is about to be written."""
    for listener in _listeners:
        listener(path)


@contextmanager
def told_of_files(listener: Callable[[Path], None]) -> Iterator[None]:
    """Calls `listener` with the path of every file that is going to be written, before anything of it is there."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
