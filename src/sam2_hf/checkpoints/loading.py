"""From the name of a model to the model and its processor, and one line that says which it is."""

import os
from pathlib import Path

import torch
from huggingface_hub import _CACHED_NO_EXIST, HfApi, try_to_load_from_cache
from safetensors import SafetensorError

from sam2_hf.assets import EMBEDDED_CHECKPOINT
from sam2_hf.checkpoints.from_weights import load_checkpoint, no_bars
from sam2_hf.errors import CheckpointError, ConfigError
from sam2_hf.modeling.configuration import Sam2Config
from sam2_hf.modeling.model import WEIGHT_SUFFIXES, Sam2Model
from sam2_hf.processing.processor import Sam2Processor

DEFAULT_REPOSITORY = "facebook/sam2.1-hiera-small"
ENVIRONMENT_VARIABLE = "SAM2_HF_MODEL"
EMBEDDED = "embedded"
PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")
LARGE = 512  # pixels, from which bfloat16 pays on a CPU; smaller models gain little by it
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
DTYPES |= {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(
    name: str,
    *,
    revision: str | None = None,
    device: str | int | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    offline: bool = False,
) -> tuple[Sam2Model, Sam2Processor, str]:
    """Loads a model by name.

    Args:
        name: Hub id, folder, `.pt` or `.safetensors` file, "embedded", or "auto": a release from the cache or the Hub,
            else the embedded one.
        device: as for torch, or the number of a CUDA device, -1 for the CPU; "auto" is CUDA, then MPS, then the CPU.
        dtype: of torch, or "fp32", "bf16" or "fp16"; "auto" is bf16 on newer CUDA devices, and for models of 512
            pixels or more on CPUs that multiply matrices in it; fp16 on older CUDA devices; else fp32.
        offline: never ask the Hub.

    Returns:
        model in evaluation mode, processor, and a line that says which model it is and where it runs.

    Raises:
        CheckpointError: there is no such model, or it cannot be read.
        ConfigError: a device or dtype that is not to be had here.
    """
    device, torch_dtype = placement(device, dtype)
    name, why = resolve(name, offline)
    with no_bars():
        model, processor, what = _load(name, revision, offline)
    if dtype == "auto" and device == "cpu" and model.config.image_size >= LARGE and has_matrix_units():
        torch_dtype = torch.bfloat16
    model = model.to(device=device, dtype=torch_dtype).eval()
    return model, processor, f"model: {what}{why}; {device}, {str(torch_dtype).removeprefix('torch.')}"


def processor_of(model: Sam2Model, name: str | Path | None = None, **where) -> Sam2Processor:
    """The processor that belongs to a model.

    Args:
        name: Hub id or folder with its files; default: where the model came from. A folder or repository without a
            processor's file has the one that the model's configuration asks for.
        where: as for `from_pretrained`.
    """
    name = model.name_or_path if name is None else str(name)
    is_bare_folder = Path(name).is_dir() and not any((Path(name) / file).exists() for file in PROCESSOR_FILES)
    if not name or is_bare_folder:
        return Sam2Processor.from_config(model.config)
    try:
        return Sam2Processor.from_pretrained(name, **where)
    except OSError:
        revision = where.get("revision")
        asked = (try_to_load_from_cache(name, file, revision=revision) for file in PROCESSOR_FILES)
        if all(answer is _CACHED_NO_EXIST for answer in asked):  # the Hub said that there is none
            return Sam2Processor.from_config(model.config)
        raise


def placement(device: str | int | torch.device = "auto", dtype: str | torch.dtype = "auto") -> tuple[str, torch.dtype]:
    """The device and dtype that `load` takes for these arguments.

    Raises:
        ConfigError: one that is not to be had here.
    """
    device = _device(device)
    return device, _dtype(dtype, device)


def has_matrix_units() -> bool:
    """Whether the CPU multiplies matrices in bfloat16 several times as fast as in float32 (AMX)."""
    is_there = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and is_there()


def default_placement() -> tuple[str, str]:
    """Device and dtype that `auto` means on this machine."""
    device, dtype = placement()
    return device, str(dtype).removeprefix("torch.")


def resolve(name: str, offline: bool = False) -> tuple[str, str]:
    """The model that "auto" stands for, and why; other names are themselves."""
    if name != "auto":
        return name, ""
    if os.environ.get(ENVIRONMENT_VARIABLE):
        return os.environ[ENVIRONMENT_VARIABLE], f" (from ${ENVIRONMENT_VARIABLE})"
    unanswered = " (not asked)"
    if isinstance(try_to_load_from_cache(DEFAULT_REPOSITORY, "model.safetensors"), str):
        return DEFAULT_REPOSITORY, " (in the cache)"
    if not offline:
        try:
            HfApi().model_info(DEFAULT_REPOSITORY, timeout=10)
            return DEFAULT_REPOSITORY, " (from the Hub)"
        except Exception as error:  # refused, unknown host, timeout, offline mode: each library has its own class
            unanswered = f" ({type(error).__name__})"
    return EMBEDDED, f" ({DEFAULT_REPOSITORY} is not in the cache and the Hub does not answer{unanswered})"


def _load(name: str, revision: str | None, offline: bool) -> tuple[Sam2Model, Sam2Processor, str]:
    if name == EMBEDDED:
        name = EMBEDDED_CHECKPOINT
    if name.endswith(WEIGHT_SUFFIXES) or Path(name).is_file():
        model, recognised = load_checkpoint(name, allow_image_only=True)
        return model, Sam2Processor.from_config(model.config), f"{name}, {recognised}"
    where = {"revision": revision, "local_files_only": offline}
    try:
        config = Sam2Config.from_pretrained(name, **where)
        model, report = Sam2Model.from_pretrained(name, config=config, output_loading_info=True, **where)
        processor = processor_of(model, name, **where)
    except (OSError, RuntimeError, SafetensorError, ValueError, TypeError) as error:
        if isinstance(error, CheckpointError):
            raise
        text = next(iter(str(error).splitlines()), type(error).__name__)
        raise CheckpointError(f"{name}: cannot be loaded ({text})") from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise CheckpointError(
            f"{name}: {len(missing)} weights are missing, first {missing[0]}; the files are incomplete"
        )
    for key, value in model.state_dict().items():
        if not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{name}: {key!r} has NaN or infinite values; the files are damaged")
    return model, processor, "the small embedded one" if name == EMBEDDED_CHECKPOINT else name


def _device(name: str | int | torch.device) -> str:
    if isinstance(name, int):
        name = f"cuda:{name}" if name >= 0 else "cpu"
    name = str(name)
    if name != "auto":
        try:
            torch.empty(0, device=name)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"device {name!r} is not to be had here ({str(error).splitlines()[0]})") from error
        return name
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _dtype(name: str | torch.dtype, device: str) -> torch.dtype:
    if isinstance(name, torch.dtype):
        return name
    if name == "auto":
        if not device.startswith("cuda"):
            return torch.float32
        return torch.bfloat16 if torch.cuda.get_device_capability() >= (8, 0) else torch.float16
    if name not in DTYPES:
        raise ConfigError(f"dtype must be auto, fp32, bf16 or fp16, got {name!r}")
    return DTYPES[name]
