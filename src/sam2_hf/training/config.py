"""`TrainConfig`: everything a training run is made of, as one JSON file, and presets for fine-tuning."""

import json
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from sam2_hf.errors import ConfigError, SourceError
from sam2_hf.modeling.losses import LossWeights
from sam2_hf.training.former import FORMER_FIELDS, FORMER_KINDS, without_former
from sam2_hf.training.optimisation import OptimiserOptions
from sam2_hf.training.prompt_sampling import PromptOptions
from sam2_hf.training.rollout import RolloutOptions
from sam2_hf.training.sources import SamplingOptions
from sam2_hf.training.transforms import AugmentOptions

TABLE, PYTHON = "table", "python"
LIST_MARK = "@"  # "@FILE" among names: one name a line of a file beside the configuration


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """One source of clips.

    Attributes:
        kind: of `datasets.registry.open_dataset`, "table" for a data set of the Hub, or "python" for a source of your
            own, see `own_sources`.
        root: folder of the data set, name of the table, or a Python file beside the configuration.
        options: of its kind, see `datasets.formats`, `datasets.tables` and `own_sources`.
        include, exclude: names of clips, with * for anything; empty `include` takes all. "@FILE" stands for names in a
            file beside the configuration.
        sampling, augment: which part of a clip, and how it is changed.
        batch_size: clips of a batch on one process.
        repeat: how often an epoch takes every clip.
        max_side: keep decoded frames, at most this long: in memory, or in the run's `cache`.
        count: how many clips of a source of your own, or rows of a table, an epoch has.
        library: data sets that lend sources of your own their pictures, as entries of this kind.
    """

    kind: str
    root: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    batch_size: int = 1
    repeat: float = 1.0
    max_side: int | None = None
    count: int = 1000
    library: tuple["DataConfig", ...] = ()

    def __post_init__(self):
        if self.kind in FORMER_KINDS:
            raise ConfigError(f"data of kind {self.kind!r} {FORMER_KINDS[self.kind]}")
        if self.root is None:
            raise ConfigError(f"data of kind {self.kind!r} needs `root`, the folder it is in")
        if self.batch_size < 1 or self.repeat <= 0:
            raise ConfigError("`batch_size` must be at least 1 and `repeat` above 0")


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters through peft, merged when the model is saved.

    Attributes:
        rank, alpha: of the adapters.
        targets: names of the linear layers that get one, as a regular expression.
    """

    rank: int = 8
    alpha: int = 16
    targets: str = r".*(backbone\.blocks\.\d+\.attn\.qkv|memory_attention\..*(q_proj|v_proj))"


@dataclass(frozen=True, kw_only=True)
class ExtraLoss:
    """A loss beside those of the masks, see `own_loss`.

    Attributes:
        root: a Python file beside the configuration.
        options: of this file.
    """

    root: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training run.

    Attributes:
        output: folder of the run; the model ends up in `output/model`.
        data: sources, mixed by batches.
        validation: data sets that are measured every `validate_every` epochs and never trained on.
        model: where to start: Hub id, folder, .pt file; None: random weights of `model_config`.
        model_config: fields of `Sam2Config` for random weights, or to override those of `model`.
        epochs, max_steps: the end; of both the one that comes first. The learning rate is planned for it.
        accumulate: batches per step.
        optimiser, prompts, rollout, loss: see their classes.
        loss_reduction: "sum" over frames and steps as the original does, or "mean".
        loss_stride: compute losses at the model's size divided by this, 1, 2 or 4; larger is faster.
        extra_loss: a loss that the recipe brings along; None for none.
        freeze: parts that do not learn.
        lora: adapters instead of whole matrices.
        drop_path, memory_dropout: regularisation during training; None: as the model's configuration says.
        average: decay of the averaged weights that are saved; 0 saves the last ones.
        mixed_precision: "no", "bf16" or "fp16".
        gradient_checkpointing: recompute the blocks of the trunk instead of keeping them.
        compile: compile the image encoder.
        seed, workers: of everything that is drawn; processes that prepare data.
        cache: folder of decoded frames, made by the first run and shared by all; None: each process keeps its own.
        save_every, log_every: in steps; the run can be resumed from the last save.
        validate_every: in epochs; 0 for never.
        trackers: "trackio", "tensorboard", ... through accelerate.
    """

    output: str
    data: tuple[DataConfig, ...]
    validation: tuple[DataConfig, ...] = ()
    model: str | None = None
    model_config: dict[str, Any] = field(default_factory=dict)
    epochs: int = 40
    max_steps: int | None = None
    accumulate: int = 1
    optimiser: OptimiserOptions = field(default_factory=OptimiserOptions)
    prompts: PromptOptions = field(default_factory=PromptOptions)
    rollout: RolloutOptions = field(default_factory=RolloutOptions)
    loss: LossWeights = field(default_factory=LossWeights)
    loss_reduction: Literal["sum", "mean"] = "sum"
    loss_stride: Literal[1, 2, 4] = 1
    extra_loss: ExtraLoss | None = None
    freeze: tuple[str, ...] = ()
    lora: LoraConfig | None = None
    drop_path: float | None = None
    memory_dropout: float | None = None
    average: float = 0.0
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    gradient_checkpointing: bool = False
    compile: bool = False
    seed: int = 123
    workers: int = 2
    cache: str | None = None
    save_every: int = 500
    log_every: int = 5
    validate_every: int = 1
    trackers: tuple[str, ...] = ()

    def __post_init__(self):
        if not self.data:
            raise ConfigError("`data` is empty; name at least one source of clips")
        if self.model is None and not self.model_config:
            raise ConfigError("name a `model` to start from, or a `model_config` for random weights")
        for name in ("epochs", "accumulate", "save_every", "log_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"`{name}` is {getattr(self, name)}, but it must be at least 1")
        if self.loss_reduction not in ("sum", "mean"):
            raise ConfigError(f"`loss_reduction` must be 'sum' or 'mean', got {self.loss_reduction!r}")
        if self.loss_stride not in (1, 2, 4):
            raise ConfigError(f"`loss_stride` must be 1, 2 or 4, got {self.loss_stride!r}")
        if self.mixed_precision not in ("no", "bf16", "fp16"):
            raise ConfigError(f"`mixed_precision` must be 'no', 'bf16' or 'fp16', got {self.mixed_precision!r}")

    @property
    def uses_clips(self) -> bool:
        """Whether any source has more than one frame, so that the memory learns."""
        return any(entry.sampling.num_frames > 1 for entry in self.data)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


def read_config(path: str | Path, **overrides) -> TrainConfig:
    """Reads a run from JSON; fields that are left out have their defaults.

    Raises:
        ConfigError: a field that does not exist, or a value of another kind; the message names it.
    """
    path = Path(path)
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise SourceError(f"{path}: there is no such file") from error
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: is not JSON ({error})") from error
    return from_dict(TrainConfig, {**_beside(without_former(values), path.parent), **overrides}, path.name)


def _beside(values: Any, folder: Path) -> Any:
    """The same values with files beside the configuration found: lists of names read, Python files by their path."""
    if isinstance(values, list):
        return [_beside(value, folder) for value in values]
    if not isinstance(values, dict):
        return values
    found = {name: _beside(value, folder) for name, value in values.items()}
    for name in ("include", "exclude"):
        if isinstance(found.get(name), list):
            found[name] = [line for pattern in found[name] for line in _names(pattern, folder)]
    own = [found] if found.get("kind") == PYTHON else [found.get("extra_loss")]
    for entry in own:
        if isinstance(entry, dict) and isinstance(entry.get("root"), str):
            entry["root"] = str((folder / entry["root"]).resolve())
    return found


def _names(pattern: Any, folder: Path) -> list:
    if not (isinstance(pattern, str) and pattern.startswith(LIST_MARK)):
        return [pattern]
    path = folder / pattern.removeprefix(LIST_MARK)
    try:
        return path.read_text().split()
    except FileNotFoundError as error:
        raise SourceError(f"{path}: there is no such file, but the configuration takes names from it") from error


def from_dict(kind: type, values: Any, where: str):
    """A configuration class from nested dictionaries, lists becoming tuples."""
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: expected an object with the fields of {kind.__name__}, got {values!r}")
    known = {entry.name: entry for entry in fields(kind)}
    if unknown := sorted(set(values) - set(known)):
        remedy = FORMER_FIELDS.get(unknown[0], f"fields are {', '.join(known)}")
        raise ConfigError(f"{where}: there is no field {unknown[0]!r}; {remedy}")
    return kind(**{name: _value(known[name].type, value, f"{where}.{name}") for name, value in values.items()})


NESTED = {
    "SamplingOptions": SamplingOptions,
    "AugmentOptions": AugmentOptions,
    "OptimiserOptions": OptimiserOptions,
    "PromptOptions": PromptOptions,
    "RolloutOptions": RolloutOptions,
    "LossWeights": LossWeights,
    "LoraConfig | None": LoraConfig,
    LoraConfig | None: LoraConfig,
    ExtraLoss | None: ExtraLoss,
}
LISTS = {tuple[DataConfig, ...]: DataConfig, tuple["DataConfig", ...]: DataConfig}


def _value(kind: Any, value: Any, where: str) -> Any:
    nested = kind if is_dataclass(kind) else NESTED.get(kind)
    if nested is not None:
        return value if value is None or is_dataclass(value) else from_dict(nested, value, where)
    if kind in LISTS:
        parts = (
            one if is_dataclass(one) else from_dict(DataConfig, one, f"{where}[{index}]")
            for index, one in enumerate(value)
        )
        return tuple(parts)
    if kind in (int, float) and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise ConfigError(f"{where}: expected a number, got {value!r}")
    if kind is int and not float(value).is_integer():
        raise ConfigError(f"{where}: expected a whole number, got {value!r}")
    return tuple(value) if isinstance(value, list) else value


# Fine-tuning: what a preset changes in a run, and which part of a clip it takes (training details of arXiv 2408.00714,
# section D.2.2, and what users ask for).
PRESETS: dict[str, dict[str, Any]] = {
    "video": {},
    "video-small-gpu": {"freeze": ("trunk",), "accumulate": 8, "gradient_checkpointing": True},
    "image": {"freeze": ("memory",)},
    "decoder": {
        "freeze": ("image_encoder", "memory"),
        "optimiser": {"learning_rate": 1e-4, "encoder_learning_rate": 1e-4},
    },
    "lora": {
        "lora": {},
        "freeze": ("image_encoder", "memory", "prompt_encoder"),
        "optimiser": {"learning_rate": 1e-4, "encoder_learning_rate": 1e-4},
    },
}
PRESET_SAMPLING: dict[str, dict[str, Any]] = {
    "video": {"num_frames": 8, "max_objects": 3},
    "video-small-gpu": {"num_frames": 4, "max_objects": 2},
    "image": {"num_frames": 1, "max_objects": 16},
    "decoder": {"num_frames": 1, "max_objects": 16},
    "lora": {"num_frames": 1, "max_objects": 16},
}


def fine_tuning(
    preset: str,
    *,
    kind: str,
    root: str,
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    batch_size: int = 1,
    learning_rate: float | None = None,
    image_size: int | None = None,
    **given: Any,
) -> TrainConfig:
    """A run that fine-tunes a model on one data set.

    Args:
        preset: of `PRESETS`.
        kind, root, include, exclude, batch_size: of the data, see `DataConfig`.
        learning_rate: of everything; the image encoder keeps its proportion.
        image_size: side of the model's input; default: the model's.
        given: other fields of `TrainConfig`, `model` and `output` among them.

    Raises:
        ConfigError: a preset that does not exist.
    """
    if preset not in PRESETS:
        raise ConfigError(f"there is no preset {preset!r}; presets are {', '.join(PRESETS)}")
    entry = {"kind": kind, "root": root, "include": include, "exclude": exclude, "batch_size": batch_size}
    values = {**PRESETS[preset], "data": [{**entry, "sampling": PRESET_SAMPLING[preset]}], **given}
    if learning_rate is not None:
        optimiser = from_dict(OptimiserOptions, values.get("optimiser", {}), "optimiser")
        share = optimiser.encoder_learning_rate / optimiser.learning_rate
        rates = {"learning_rate": learning_rate, "encoder_learning_rate": share * learning_rate}
        values["optimiser"] = {**values.get("optimiser", {}), **rates}
    if image_size is not None:
        values["model_config"] = {"image_size": image_size}
    return from_dict(TrainConfig, values, f"preset {preset}")
