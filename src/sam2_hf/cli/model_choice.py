"""From `--model` to a model and its processor, and one line that says which it is."""

import os
from pathlib import Path

import typer

from sam2_hf.assets import EMBEDDED_CHECKPOINT
from sam2_hf.errors import CheckpointError

DEFAULT_REPOSITORY = "facebook/sam2.1-hiera-small"
ENVIRONMENT_VARIABLE = "SAM2_HF_MODEL"
EMBEDDED, STAND_IN = "embedded", "stand-in"
WEIGHT_SUFFIXES = (".pt", ".pth", ".bin", ".safetensors")
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def load(name: str, *, revision: str | None = None, device: str = "auto", dtype: str = "auto", offline: bool = False):
    """Loads what `--model` names.

    Returns:
        model in evaluation mode, processor, and a line that says which model it is and where it runs.

    Raises:
        CheckpointError: there is no such model, or it cannot be read.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    device = _device(device)
    torch_dtype = _dtype(dtype, device)
    name, why = _resolve(name, offline)
    model, processor, what = _load(name, revision, offline)
    model = model.to(device=device, dtype=torch_dtype).eval()
    return model, processor, f"model: {what}{why}; {device}, {str(torch_dtype).removeprefix('torch.')}"


def default_placement() -> tuple[str, str]:
    """Device and dtype that `auto` means on this machine."""
    device = _device("auto")
    return device, str(_dtype("auto", device)).removeprefix("torch.")


def _resolve(name: str, offline: bool) -> tuple[str, str]:
    """The model that 'auto' and 'embedded' stand for, and why."""
    if name == EMBEDDED:
        return EMBEDDED_CHECKPOINT, ""
    if name != "auto":
        return name, ""
    if os.environ.get(ENVIRONMENT_VARIABLE):
        return os.environ[ENVIRONMENT_VARIABLE], f" (from ${ENVIRONMENT_VARIABLE})"
    from huggingface_hub import HfApi, try_to_load_from_cache

    unanswered = " (not asked)"
    if isinstance(try_to_load_from_cache(DEFAULT_REPOSITORY, "model.safetensors"), str):
        return DEFAULT_REPOSITORY, " (in the cache)"
    if not offline:
        try:
            HfApi().model_info(DEFAULT_REPOSITORY, timeout=10)
            return DEFAULT_REPOSITORY, " (from the Hub)"
        except Exception as error:  # refused, unknown host, timeout, offline mode: each library has its own class
            unanswered = f" ({type(error).__name__})"
    return EMBEDDED_CHECKPOINT, f" ({DEFAULT_REPOSITORY} is not in the cache and the Hub does not answer{unanswered})"


def _load(name: str, revision: str | None, offline: bool):
    from safetensors import SafetensorError

    from sam2_hf.modeling.configuration import Sam2Config
    from sam2_hf.modeling.model import Sam2Model
    from sam2_hf.processing.processor import Sam2Processor

    if name == STAND_IN:
        return *_stand_in(), "stand-in weights, not trained: the masks mean nothing"
    if name.endswith(WEIGHT_SUFFIXES) or Path(name).is_file():
        from sam2_hf.conversion.convert_checkpoint import default_processor, load_checkpoint

        model, recognised = load_checkpoint(name, allow_image_only=True)
        return model, default_processor(model.config), f"{name}, {recognised}"
    where = {"revision": revision, "local_files_only": offline}
    try:
        config = Sam2Config.from_pretrained(name, **where)
        model, report = Sam2Model.from_pretrained(name, config=config, output_loading_info=True, **where)
        processor = Sam2Processor.from_pretrained(name, **where)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{name}: cannot be loaded ({str(error).splitlines()[0]})") from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise CheckpointError(
            f"{name}: {len(missing)} weights are missing, first {missing[0]}; the files are incomplete"
        )
    return model, processor, "the small embedded one" if name == EMBEDDED_CHECKPOINT else name


def _stand_in():
    """SAM 2.1 tiny with seeded random weights: the same on every machine, good for nothing but trying the path."""
    import torch

    from sam2_hf.conversion.convert_checkpoint import default_processor
    from sam2_hf.modeling.configuration import Sam2Config
    from sam2_hf.modeling.model import Sam2Model

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Sam2Model(Sam2Config.tiny())
    return model, default_processor(model.config)


def _device(name: str) -> str:
    import torch

    if name != "auto":
        try:
            torch.empty(0, device=name)
        except (RuntimeError, AssertionError) as error:
            raise typer.BadParameter(
                f"--device {name!r} is not to be had here ({str(error).splitlines()[0]})"
            ) from error
        return name
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _dtype(name: str, device: str):
    import torch

    if name == "auto":
        if not device.startswith("cuda"):
            return torch.float32
        return torch.bfloat16 if torch.cuda.get_device_capability() >= (8, 0) else torch.float16
    if name not in DTYPES:
        raise typer.BadParameter(f"--dtype must be one of auto, {', '.join(DTYPES)}, got {name!r}")
    return getattr(torch, DTYPES[name])
