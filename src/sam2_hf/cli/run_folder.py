"""Output folders that a run can be resumed in: `run.json` says what made them and how it stands."""

import hashlib
import json
import os
import shlex
import sys
from pathlib import Path

from sam2_hf.errors import ConfigChangedError, OutputExistsError

RUN = "run.json"


def next_folder(command: str, *, reserve: bool = True) -> Path:
    """`runs/<command>/<n>` with the next free number.

    Args:
        reserve: make the folder, so that no other run takes it.
    """
    runs = Path("runs", command)
    taken = [int(entry) for entry in (os.listdir(runs) if runs.is_dir() else []) if entry.isdigit()]
    number = max(taken, default=0) + 1
    while reserve:
        try:
            (runs / str(number)).mkdir(parents=True)
            break
        except FileExistsError:  # another run was faster
            number += 1
    return runs / str(number)


def check_folder(folder: Path, given: dict, *, overwrite: bool, resume: bool) -> None:
    """Refuses a folder with another run in it.

    Args:
        given: the options that a resumed run must share.

    Raises:
        ConfigChangedError: the run to be resumed was begun with other options.
        OutputExistsError: there is a run already, or none to resume.
    """
    run = folder / RUN
    if not run.exists():
        if resume:
            raise OutputExistsError(f"{folder}: there is no run to resume; leave out --resume")
        return
    if resume:
        before = json.loads(run.read_text())["options"]
        now = json.loads(json.dumps(given))  # as it would have been written
        changed = [name for name, value in now.items() if before.get(name) != value]
        if changed:
            name = changed[0]
            difference = f"was made with {name}={before.get(name)}, now {now[name]}"
            raise ConfigChangedError(f"{folder}: {difference}; use --overwrite or another --output")
    elif not overwrite:
        raise OutputExistsError(f"{folder}: holds a run already; pass --overwrite, --resume or another --output")


def earlier_run(folder: Path) -> dict:
    """`run.json` of a run in a folder; empty if there is none."""
    run = folder / RUN
    return json.loads(run.read_text()) if run.exists() else {}


def write_run(folder: Path, command: str, given: dict, status: str, **more) -> dict:
    """Writes `run.json`, and returns what is in it."""
    from sam2_hf.disk.whole import write_whole

    digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:12]
    record = {"command": command, "options": given, "hash": digest, "status": status, **more}
    write_whole(folder / RUN, json.dumps(record, indent=1).encode(), overwrite=True)
    return record


def resume_command(folder: Path) -> str:
    """The command line of this process, changed so that it goes on with the run in `folder`."""
    arguments = [argument for argument in sys.argv[1:] if argument not in ("--overwrite", "--resume")]
    is_named = any(argument.startswith(("-o", "--output")) for argument in arguments)
    return shlex.join(["sam2-hf", *arguments, "--resume", *([] if is_named else ["--output", str(folder)])])
