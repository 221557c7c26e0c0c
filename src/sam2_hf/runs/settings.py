"""What every run is told: the model, and where to write. Defaults stand here and nowhere else."""

from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from sam2_hf.disk.run_folder import RunFolder
from sam2_hf.errors import CheckpointError, ConfigError

THRESHOLD_OPTIONS = {"pred_iou_thresh=": "--min-iou ", "stability_score_thresh=": "--min-stability "}
FREE = "may differ when a run is gone on with"


WEIGHT_SUFFIXES = (".pt", ".pth", ".bin", ".safetensors")


def check_model_name(name: str) -> None:
    """Refuses the name of a file or folder that is not there, before anything heavy is imported.

    Raises:
        CheckpointError: it can be neither on this machine nor on the Hub.
    """
    is_path = name.endswith(WEIGHT_SUFFIXES) or name.startswith((".", "/", "~")) or name.count("/") > 1
    if is_path and not Path(name).exists():
        raise CheckpointError(
            f"{name}: no such file or folder; a model is a Hub id (owner/name), a folder, a weight file, 'embedded' or "
            "'auto'"
        )


def free(default: Any) -> Any:
    """A field that may differ when a run is gone on with."""
    return field(default=default, metadata={FREE: True})


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Shared by all runs.

    Attributes:
        model: Hub id, folder, weight file, "embedded" or "auto"; a run that is gone on with stays with what "auto" was.
        revision: of the Hub repository.
        device, dtype: "auto", or as `sam2_hf.checkpoints.loading.load` takes them.
        offline: never ask the Hub.
        output: folder to write; None: `runs/<command>/<n>`, n the next free number.
        overwrite: remove what an earlier run wrote there; nothing else is ever replaced.
        resume: go on with the run that is there.
    """

    model: str = "auto"
    revision: str | None = None
    device: str = free("auto")
    dtype: str = "auto"
    offline: bool = free(False)
    output: str | None = free(None)
    overwrite: bool = free(False)
    resume: bool = free(False)

    def __post_init__(self):
        check_model_name(self.model)
        if self.resume and self.output is None:
            raise ConfigError("--resume needs --output, the folder of the run to go on with")
        if self.resume and self.overwrite:
            raise ConfigError("--resume goes on with a run, --overwrite removes it; pass one of them")

    def options(self) -> dict:
        """Plain values that a run which is gone on with must share."""
        names = (entry.name for entry in fields(self) if FREE not in entry.metadata and entry.name != "requests")
        values = {name: getattr(self, name) for name in names}  # requests hold masks, which a run puts its own way
        return {name: plain(value) for name, value in values.items()}

    def folder(self, command: str, reserve: bool = True) -> RunFolder:
        """Where to write.

        Args:
            reserve: a folder that is chosen here is made at once, so that no other run is told of it.
        """
        path = next_folder(command, reserve=reserve) if self.output is None else Path(self.output)
        return RunFolder(path, command, self.options(), reserved=self.output is None and reserve)


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, (tuple, list)):
        return [plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


def in_options(text: str) -> str:
    """A sentence about thresholds with the names that they have on the command line."""
    for name, option in THRESHOLD_OPTIONS.items():
        text = text.replace(name, option)
    return text


def next_folder(command: str, *, reserve: bool = True) -> Path:
    """`runs/<command>/<n>` with the next free number.

    Args:
        reserve: make the folder, so that no other run takes it.
    """
    runs = Path("runs", command)
    taken = [int(entry.name) for entry in (runs.iterdir() if runs.is_dir() else ()) if entry.name.isdigit()]
    number = max(taken, default=0) + 1
    while reserve:
        try:
            (runs / str(number)).mkdir(parents=True)
            break
        except FileExistsError:  # another run was faster
            number += 1
    return runs / str(number)
