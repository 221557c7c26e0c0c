"""Output folders that a run can be resumed in: `run.json` says what made them and how it stands."""

import hashlib
import json
from pathlib import Path

from sam2_hf.errors import OutputExistsError

RUN = "run.json"


def check_folder(folder: Path, given: dict, *, overwrite: bool, resume: bool) -> None:
    """Refuses a folder with another run in it.

    Args:
        given: the options that a resumed run must share.
    """
    run = folder / RUN
    if not run.exists():
        if resume:
            raise OutputExistsError(f"{folder}: there is no run to resume; leave out --resume")
        return
    if resume:
        before = json.loads(run.read_text())["options"]
        changed = [name for name, value in given.items() if before.get(name) != value]
        if changed:
            was, now = before.get(changed[0]), given[changed[0]]
            raise OutputExistsError(f"{folder}: was made with {changed[0]}={was}, now {now}; use another --output")
    elif not overwrite:
        raise OutputExistsError(f"{folder}: holds a run already; pass --overwrite, --resume or another --output")


def write_run(folder: Path, command: str, given: dict, status: str, **more) -> None:
    """Writes `run.json`."""
    from sam2_hf.pipelines.results import write_whole

    digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:12]
    record = {"command": command, "options": given, "hash": digest, "status": status, **more}
    write_whole(folder / RUN, json.dumps(record, indent=1).encode(), overwrite=True)
