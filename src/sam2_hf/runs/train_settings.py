"""What is trained, on what: `TrainSettings`, from which the `TrainConfig` of a run is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sam2_hf.errors import ConfigError, SourceError
from sam2_hf.runs.settings import check_model_name, next_folder

if TYPE_CHECKING:
    from sam2_hf.training.config import TrainConfig

PRECISIONS = {"torch.float32": "no", "torch.bfloat16": "bf16", "torch.float16": "fp16"}
START = "embedded"  # the model that is fine-tuned where none is named


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """A training run: a file that says everything, or a data set and a preset.

    Attributes:
        config: JSON file of a `TrainConfig`.
        dataset, root: kind and folder of a data set instead; beside a file, `root` is where its paths start.
        preset: of `sam2_hf.training.config.PRESETS`.
        include, exclude: names of clips, * stands for anything.
        hold_out: share of the clips that is validated on and not trained on.
        validate_every: epochs between two validations, 0 for never; None: as the file or the class has it.
        epochs, max_steps, batch_size, learning_rate, image_size: see `TrainConfig` and `fine_tuning`.
        device: "auto", or as `sam2_hf.checkpoints.loading.load` takes it.
        dtype: of the mixed precision: "fp32" for none, "bf16", "fp16", or "auto" as in `load`; None: as the file says,
            else "auto".
        model: where to start; None: as the file says, else the embedded one.
        output: folder of the run; None: as the file says, else `runs/train/<n>`.
        overwrite: remove what an earlier run wrote there; nothing else is ever replaced.
        resume: go on with the run that is there.
    """

    config: str | None = None
    dataset: str | None = None
    root: str | None = None
    preset: str = "image"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    hold_out: float = 0.0
    validate_every: int | None = None
    epochs: int | None = None
    batch_size: int = 1
    learning_rate: float | None = None
    image_size: int | None = None
    max_steps: int | None = None
    device: str = "auto"
    dtype: str | None = None
    model: str | None = None
    output: str | None = None
    overwrite: bool = False
    resume: bool = False

    def check(self) -> None:
        """Refuses what means nothing together.

        Raises:
            ConfigError: the first of it.
            CheckpointError, SourceError: a model, a file or a folder that is not there.
        """
        if (self.config is None) == (self.dataset is None):
            raise ConfigError("pass either --config FILE, or --dataset KIND with --root FOLDER")
        if self.dataset is not None and self.root is None:
            raise ConfigError("--dataset needs --root, the folder it is in")
        if self.resume and self.overwrite:
            raise ConfigError("--resume goes on with a run, --overwrite removes it; pass one of them")
        if self.resume and self.config is None and self.output is None:
            raise ConfigError("--resume needs --output, the folder of the run to go on with")
        if self.model is not None:
            check_model_name(self.model)
        if self.config is not None and not Path(self.config).is_file():
            raise SourceError(f"{self.config}: there is no such file")
        if self.dataset is not None and not Path(str(self.root)).is_dir():
            raise SourceError(f"{self.root}: there is no such folder")

    @property
    def base(self) -> Path | None:
        """Where the paths of a configuration file start; None: at the working directory."""
        return Path(self.root) if self.config is not None and self.root is not None else None

    def chosen_output(self) -> str | None:
        """The folder that is named, or the next free one; None where the file of the run says it."""
        if self.output is not None or self.config is not None:
            return self.output
        return str(next_folder("train"))

    def _mixed_precision(self) -> str | None:
        """As `TrainConfig` names it; None where the file of the run says it."""
        from sam2_hf.checkpoints.loading import placement

        dtype = placement(self.device, "auto" if self.dtype is None else self.dtype)[1]
        return None if self.config is not None and self.dtype is None else PRECISIONS[str(dtype)]

    def to_config(self) -> TrainConfig:
        """The whole run.

        Raises:
            ConfigError: a value that cannot be meant, a device that is not here, or a field of the file that does not
                exist.
            SourceError: the file is not there.
        """
        from sam2_hf.training.config import fine_tuning, read_config

        self.check()
        mixed_precision = self._mixed_precision()
        names = ("model", "epochs", "max_steps", "validate_every")
        given = {name: getattr(self, name) for name in names} | {"output": self.chosen_output()}
        given["mixed_precision"] = mixed_precision
        given = {name: value for name, value in given.items() if value is not None}
        if self.config is not None:
            return read_config(self.config, **given)
        return fine_tuning(
            self.preset,
            kind=str(self.dataset),
            root=str(self.root),
            include=self.include,
            exclude=self.exclude,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            image_size=self.image_size,
            **{"model": START, **given},
        )
