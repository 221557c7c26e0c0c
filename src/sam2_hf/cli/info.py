"""`sam2-hf info`: what is installed here, and what a checkpoint is."""

import json
from typing import Annotated

import typer

from sam2_hf.cli import options

EXTRAS = {"viz": "supervision", "data": "datasets", "train": "accelerate", "eval": "faster_coco_eval", "demo": "gradio"}


def info(
    model: Annotated[str | None, typer.Argument(help="Hub id, folder or weight file to describe.")] = None,
    short: Annotated[bool, typer.Option("--short", help="Only our version.")] = False,
    as_json: options.Json = False,
    offline: options.Offline = False,
    verbose: options.Verbose = False,
) -> None:
    """Show versions, devices and extras; with MODEL its configuration and parameters."""
    from importlib.metadata import version

    facts: dict = {"sam2_hf": version("sam2-hf")}
    if not short:
        facts |= _machine() if model is None else _model(model, offline)
    lines = [
        f"{key}: {', '.join(map(str, value)) if isinstance(value, list) else value}" for key, value in facts.items()
    ]
    typer.echo(json.dumps(facts) if as_json else "\n".join(lines))


def _machine() -> dict:
    import importlib.util
    import platform

    import torch
    import transformers

    from sam2_hf.cli.model_choice import default_placement

    device, dtype = default_placement()
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": device,
        "dtype": dtype,
        "extras": [extra for extra, module in EXTRAS.items() if importlib.util.find_spec(module)],
    }


def _model(name: str, offline: bool) -> dict:
    from sam2_hf.cli.model_choice import load

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
    }
