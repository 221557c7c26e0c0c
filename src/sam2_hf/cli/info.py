"""`sam2-hf info`: what is installed here, and what a checkpoint is."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sam2_hf.cli import options
from sam2_hf.runs.settings import check_model_name

EXTRAS = {
    "viz": "supervision",
    "data": "datasets",
    "train": "accelerate",
    "eval": "faster_coco_eval",
    "demo": "gradio",
    "camera": "cv2",
    "export": "onnx",
}
CACHED_KINDS = ("sam2", "sam2_video")  # `model_type` of checkpoints that can be loaded
APACHE, UNKNOWN = "apache-2.0", "not stated"


def info(
    model: Annotated[str | None, typer.Argument(help="Hub id, folder or weight file to describe.")] = None,
    short: Annotated[bool, typer.Option("--short", help="Only our version, at once.")] = False,
    as_json: options.Json = False,
    offline: options.Offline = False,
    verbose: options.Verbose = False,
) -> None:
    """Show versions, devices, extras and cached checkpoints; with MODEL its configuration, parameters and licence.

    Example: sam2-hf info facebook/sam2.1-hiera-tiny
    """
    from importlib.metadata import version

    if model is not None:
        check_model_name(model)
    facts: dict = {"sam2_hf": version("sam2-hf")}
    if not short:
        facts |= _machine() if model is None else _model(model, offline)
    lines = [f"{key}: {_shown(value)}" for key, value in facts.items()]
    typer.echo(json.dumps(facts) if as_json else "\n".join(lines))


def _shown(value) -> str:
    return (", ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)


def _machine() -> dict:
    import importlib.util
    import platform
    from importlib.metadata import version

    from sam2_hf.checkpoints.loading import default_placement

    device, dtype = default_placement()
    libraries = ("torch", "transformers", "numpy", "pillow", "av")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in libraries},
        "devices": _devices(),
        "device": device,
        "dtype": dtype,
        "extras": [extra for extra, module in EXTRAS.items() if importlib.util.find_spec(module)],
        "checkpoints": _cached_checkpoints(),
    }


def _devices() -> list[str]:
    import torch

    found = ["cpu"]
    for number in range(torch.cuda.device_count()):
        found.append(f"cuda:{number} ({torch.cuda.get_device_name(number)})")
    return found + (["mps"] if torch.backends.mps.is_available() else [])


def _cached_checkpoints() -> list[str]:
    """The embedded checkpoint, and repositories in the cache of the Hub that can be loaded."""
    from huggingface_hub import constants, scan_cache_dir

    found = ["embedded"]
    if not Path(constants.HF_HUB_CACHE).is_dir():
        return found
    for repository in sorted(scan_cache_dir(constants.HF_HUB_CACHE).repos, key=lambda repository: repository.repo_id):
        files = {file.file_name: file.file_path for revision in repository.revisions for file in revision.files}
        if "config.json" in files and _model_type(files["config.json"]) in CACHED_KINDS:
            found.append(repository.repo_id)
    return found


def _model_type(config: Path) -> str | None:
    try:
        return json.loads(config.read_text()).get("model_type")
    except (OSError, ValueError):
        return None


def _model(name: str, offline: bool) -> dict:
    from sam2_hf.checkpoints.loading import load

    model, _, line = load(name, device="cpu", dtype="fp32", offline=offline)
    config = model.config
    trunk = config.vision_config.backbone_config
    return {
        "model": line.removeprefix("model: "),
        "version": config.version,
        "image_size": config.image_size,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "width": config.hidden_size,
        "blocks": trunk.blocks_per_stage,
        "stem": trunk.hidden_size,
        "video": not config.image_only,
        "licence": _licence(name, offline, model.name_or_path),
    }


def _licence(name: str, offline: bool, loaded_from: str) -> str:
    """What the model card says; the embedded checkpoint has ours."""
    from sam2_hf.assets import EMBEDDED_CHECKPOINT

    if loaded_from == EMBEDDED_CHECKPOINT:
        return APACHE
    card = _card(name if Path(name).exists() else loaded_from, offline)
    if card is None:
        return UNKNOWN
    lines = card.read_text(encoding="utf-8").partition("---")[2].partition("---")[0].splitlines()
    stated = (line.partition(":")[2].strip() for line in lines if line.startswith("license:"))
    return next(stated, UNKNOWN)


def _card(name: str, offline: bool) -> Path | None:
    """README.md of a folder, of the folder of a weight file, or of a repository."""
    path = Path(name)
    if path.exists() or name.startswith(("/", ".")):
        card = (path if path.is_dir() else path.parent) / "README.md"
        return card if card.is_file() else None
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(name, "README.md", local_files_only=offline))
    except Exception:  # no card, no network: each has its own class, and none matters here
        return None
