"""The folder of one run: who writes there, what made it, and which of its files a later run may replace.

    run.json    command, options, status, and the files that were written
    .written    names of files, noted before each is written; folded into run.json at the end
    .lock       there while a run writes

A file that no run of ours wrote is never replaced or removed, and neither is one that the run reads.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from sam2_hf.disk.folder_lock import LOCK, FolderLock
from sam2_hf.disk.whole import is_here, naming, part_of, told_of_files, write_json
from sam2_hf.errors import ConfigChangedError, OutputExistsError

RUN, JOURNAL = "run.json", ".written"
OWN = (RUN, JOURNAL, LOCK)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a run reads.

    Attributes:
        files, folders: absolute; everything in a folder is read.
    """

    files: frozenset[Path] = frozenset()
    folders: tuple[Path, ...] = ()

    @classmethod
    def of(cls, *names: str | Path | None) -> "Inputs":
        """Those of the names that are files or folders here; others are addresses, cameras or absent."""
        paths = [Path(name).resolve() for name in names if name is not None and is_here(name)]
        folders = tuple(path for path in paths if path.is_dir())
        return cls(frozenset(path for path in paths if not path.is_dir()), folders)

    def has(self, path: Path) -> bool:
        """Whether a path is read, as it is or as part of a folder."""
        path = path.resolve()
        return path in self.files or any(folder == path or folder in path.parents for folder in self.folders)


class RunFolder:
    """The folder of one run.

    ```python
    folder = RunFolder(path, "predict", options)
    with folder.locked():
        folder.check(overwrite=False, resume=False, planned=files, inputs=inputs)
        ...                     # load the model; refuse what cannot be meant
        folder.begin(keep=False)
        ...                     # write files, through `disk.whole`
        folder.write("done")
    ```

    Args:
        path: made when it is locked, and taken away again if nothing is written to it.
        command: that makes the run.
        options: plain values that a resumed run must share.
        reserved: the folder was made for this run, and goes if nothing is written to it.

    Attributes:
        earlier: what `run.json` says of a run that is there; empty if there is none.
        written: names of files below the folder that runs wrote there, with '/'.
    """

    def __init__(self, path: str | Path, command: str, options: dict, reserved: bool = False):
        self.path, self.command, self._reserved = Path(path), command, reserved
        self._root = Path(os.path.abspath(path))  # the working directory may change
        self.options = json.loads(json.dumps(options))  # as they will be read again
        self.earlier: dict = {}
        self.written: set[str] = set()
        self._journal = None
        self.read()

    def read(self) -> None:
        """Reads what an earlier run left."""
        self.earlier = read_record(self.path)
        self.written = written_in(self.path)

    @contextmanager
    def locked(self, shared: bool = False) -> Iterator[None]:
        """Keeps other runs out of the folder.

        Args:
            shared: let in others that share it too.

        Raises:
            OutputExistsError: another run is writing there, or there is a file in place of the folder.
        """
        made = [*([self.path] if self._reserved else []), *_make(self.path)]
        lock = FolderLock(self.path, shared)
        with ExitStack() as stack:
            stack.callback(_remove_empty, made)
            lock.acquire()
            stack.callback(lock.release)
            self.read()
            stack.enter_context(told_of_files(self._note))
            stack.callback(self._close_journal)
            yield

    def check(
        self,
        *,
        overwrite: bool,
        resume: bool,
        planned: Iterable[Path] = (),
        inputs: Inputs | None = None,
    ) -> None:
        """Refuses what would mix two runs or lose a file. Changes nothing.

        Args:
            planned: files that will be written, and folders in which files will be.
            inputs: what is read, which is never replaced.

        Raises:
            ConfigChangedError: the run to be resumed was begun with other options.
            OutputExistsError: there is a run already, or none to resume, or a file in the way.
        """
        self._check_run(overwrite, resume)
        if not self.earlier and (self.path / RUN).exists():
            raise OutputExistsError(f"{self.path / RUN}: is not of a run of ours; move it, or choose another --output")
        inputs = Inputs() if inputs is None else inputs
        may_be_there = self.written if overwrite or resume else set()
        for path in planned:
            self._check_path(path, may_be_there, inputs)
        for name in self.written if overwrite else ():
            if inputs.has(self.path / name):
                raise OutputExistsError(
                    f"{self.path / name}: would be removed by --overwrite, but it is read by this run; "
                    "choose another --output"
                )

    def adopt(self, options: dict, files: Iterable[Path]) -> None:
        """Takes files for those of an earlier run, which had no `run.json` yet.

        Args:
            options: that it was made with.
        """
        self.earlier = {"command": self.command, "options": options, "status": "unknown"}
        self.written |= {file.relative_to(self.path).as_posix() for file in files if file.is_file()}

    def begin(self, *, keep: bool, **facts) -> None:
        """Writes `run.json`; from here on the folder is this run's.

        Args:
            keep: files of the earlier run stay, because it is gone on with; else they are removed.
            facts: further entries of `run.json`.
        """
        if not keep:
            self._clear()
        self.write("running", **facts)

    def write(self, status: str, **facts) -> dict:
        """Writes `run.json`, and returns what is in it."""
        digest = sha256(json.dumps(self.options, sort_keys=True).encode()).hexdigest()[:12]
        record = {"command": self.command, "options": self.options, "hash": digest, "status": status, **facts}
        files = sorted(name for name in self.written | written_in(self.path) if (self.path / name).exists())
        write_json(self.path / RUN, {**record, "files": files})
        return record

    def is_whole(self, names: Iterable[str]) -> bool:
        """Whether all of these files are there."""
        return all((self.path / name).exists() for name in names)

    # Parts

    def _check_run(self, overwrite: bool, resume: bool) -> None:
        if resume and not self.earlier:
            raise OutputExistsError(f"{self.path}: there is no run to resume; leave out --resume")
        if self.earlier and (resume or overwrite) and self.earlier["command"] != self.command:
            found = f"holds a run of `{self.earlier['command']}`, not of `{self.command}`"
            raise OutputExistsError(f"{self.path}: {found}; choose another --output")
        if resume:
            self.require_same(self.earlier["options"], self.options)
        elif self.earlier and not overwrite:
            raise OutputExistsError(f"{self.path}: holds a run already; pass --overwrite, --resume or another --output")

    def require_same(self, before: Any, now: Any, name: str = "") -> None:
        """Refuses to go on with what was made otherwise.

        Raises:
            ConfigChangedError: the first difference.
        """
        found = difference(before, json.loads(json.dumps(now)), name)
        if found is not None:
            where, was, value = found
            raise ConfigChangedError(
                f"{self.path}: was made with {where}={was}, now {value}; use --overwrite or another --output"
            )

    def _check_path(self, path: Path, may_be_there: set[str], inputs: Inputs) -> None:
        if path.resolve() in inputs.files or (path.exists() and not path.is_dir() and inputs.has(path)):
            raise OutputExistsError(f"{path}: is read by this run and would be written; choose another --output")
        for file in _files_at(path):
            name = file.relative_to(self.path).as_posix()
            if name in may_be_there:
                continue
            if may_be_there and name in written_in(self.path):  # by another job, just now
                continue
            if name in self.written:
                raise OutputExistsError(f"{file}: exists already; pass --overwrite or another --output")
            raise OutputExistsError(
                f"{file}: exists already, and is not a file of a run that --overwrite may replace; move it, or choose "
                "another --output"
            )

    def _clear(self) -> None:
        """Removes the files that earlier runs wrote, and the folders that are empty then."""
        root, folders = self.path.resolve(), set()
        for name in self.written:
            file = self.path / name
            if not _is_below(name) or root not in (file.parent.resolve(), *file.parent.resolve().parents):
                continue  # run.json was changed by hand
            for path in (file, part_of(file)):  # the second of a process that was killed
                path.unlink(missing_ok=True)
            folders.update(parent for parent in file.parents if self.path in parent.parents)
        for folder in folders:
            shutil.rmtree(part_of(folder), ignore_errors=True)
        _remove_empty(sorted(folders, key=lambda folder: len(folder.parts), reverse=True))
        (self.path / JOURNAL).unlink(missing_ok=True)
        self.written = set()

    def _note(self, path: Path) -> None:
        try:
            name = Path(os.path.abspath(path)).relative_to(self._root).as_posix()
        except ValueError:
            return  # of another folder
        if name in self.written or name in OWN:
            return
        with naming(self.path / JOURNAL):
            if self._journal is None:
                self._journal = (self.path / JOURNAL).open("a", encoding="utf-8")
            self._journal.write(json.dumps(name) + "\n")
            self._journal.flush()
        self.written.add(name)

    def _close_journal(self) -> None:
        if self._journal is not None:
            with suppress(OSError):  # a full disk, which was told of when it was written to
                self._journal.close()
            self._journal = None
        there = {name for name in written_in(self.path) if (self.path / name).exists()}
        if written_in(self.path, journal=False) >= there:
            (self.path / JOURNAL).unlink(missing_ok=True)


def read_record(folder: Path) -> dict:
    """`run.json` of a folder; empty if there is none of ours."""
    try:
        record = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return record if isinstance(record, dict) and {"command", "options"} <= record.keys() else {}


def written_in(folder: Path, journal: bool = True) -> set[str]:
    """Names of the files below a folder that runs wrote there, with '/'."""
    names = set(read_record(folder).get("files", ()))
    path = folder / JOURNAL
    if journal and path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                names.add(json.loads(line))
            except ValueError:  # it was being written when the process was killed
                break
    return names


def difference(before: Any, now: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """The first difference of two plain values: its name such as `prompts[0].box`, and both sides."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = list(dict.fromkeys((*now, *before)))
        pairs = ((f"{name}.{key}" if name else key, before.get(key), now.get(key)) for key in keys)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now) and _is_nested(now):
        pairs = ((f"{name}[{index}]", one, other) for index, (one, other) in enumerate(zip(before, now, strict=True)))
    else:
        return None if before == now else (name, before, now)
    return next((found for label, one, other in pairs if (found := difference(one, other, label))), None)


def _is_nested(values: Sequence) -> bool:
    return any(isinstance(value, (dict, list)) for value in values)


def _is_below(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and bool(path.parts)


def _files_at(path: Path) -> list[Path]:
    """The file, or those in a folder that can be seen; nothing where there is nothing."""
    if path.is_dir():
        return [entry for entry in sorted(path.rglob("*")) if entry.is_file() and not entry.name.startswith(".")]
    return [path] if path.exists() else []


def _make(folder: Path) -> list[Path]:
    """Makes a folder with its parents; returns those that were not there, the deepest first."""
    made = [entry for entry in (folder, *folder.parents) if not entry.exists()]
    for entry in (folder, *folder.parents):
        if not entry.is_dir() and (entry.exists() or entry.is_symlink()):
            what = "is a file" if entry.exists() else "is a link to nothing"
            raise OutputExistsError(f"{entry}: {what}, where a folder is to be; choose another --output")
    folder.mkdir(parents=True, exist_ok=True)
    return made


def _remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:  # not empty, or gone
            continue
