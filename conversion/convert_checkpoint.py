"""Original SAM 2 / 2.1 checkpoints to the Hub's layout, and back.

    python conversion/convert_checkpoint.py sam2.1_hiera_tiny.pt --output sam2.1-hiera-tiny
    python conversion/convert_checkpoint.py sam2.1_hiera_tiny.pt --output sam2.1-hiera-tiny --push-to-hub me/sam2
    python conversion/convert_checkpoint.py sam2.1-hiera-tiny --output sam2.1_hiera_tiny.pt --reverse

Everything is checked before anything gets its final name: a wrong, cut-off or foreign file leaves nothing behind.
"""

import argparse
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub import HfApi
from sam2_hf.conversion.key_map import to_original
from sam2_hf.conversion.model_card import model_card
from sam2_hf.conversion.read_weights import read_weights
from sam2_hf.conversion.recognise import VERSION_MARKS, Recognised, recognise
from sam2_hf.conversion.verify import verify_folder
from transformers.utils import logging

from sam2_hf.errors import CheckpointError, CheckpointMismatchError, OutputExistsError, Sam2Error
from sam2_hf.modeling.configuration import Sam2Config
from sam2_hf.modeling.model import Sam2Model
from sam2_hf.processing.processor import Sam2Processor

Report = Callable[[str], None]


def convert(
    checkpoint: str | Path,
    output: str | Path,
    *,
    config: Sam2Config | None = None,
    weights_key: str | None = None,
    allow_image_only: bool = False,
    verify: bool = True,
    report: Report = lambda line: None,
) -> Path:
    """Converts a checkpoint to a folder that `from_pretrained` loads, here and in stock transformers.

    Args:
        checkpoint: `.pt` in the original layout (Meta, Ultralytics, ...), safetensors in either layout, or a folder.
        output: folder to write; it must not exist or be empty.
        config: needed for models of no released size only.
        weights_key: top-level key to read instead of `model`, such as "ema".
        allow_image_only: accept a checkpoint without memory weights.
        verify: load the folder back and compare weights and outputs before it gets its name.
        report: called with a line for each step.

    Returns:
        The folder.

    Raises:
        CheckpointError, CheckpointMismatchError, OutputExistsError: and nothing was written.
    """
    output = Path(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OutputExistsError(f"{output}: exists already; choose another output or remove it")
    model, recognised = load_checkpoint(
        checkpoint, config=config, weights_key=weights_key, allow_image_only=allow_image_only, report=report
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.part-", dir=output.parent) as folder:
        part = Path(folder) / output.name
        with _no_bars():
            model.save_pretrained(part)
            Sam2Processor.from_config(model.config).save_pretrained(part)
        (part / "README.md").write_text(model_card(recognised, model.config, Path(checkpoint).name))
        if verify:
            with _no_bars():
                verify_folder(model, part, recognised.state_dict)
            report("verified: loaded back, weights bit-equal, outputs alike")
        if output.exists():
            output.rmdir()
        shutil.move(part, output)
    report(f"wrote {output}")
    return output


def reverse(
    source: str | Path,
    output: str | Path,
    *,
    config: Sam2Config | None = None,
    weights_key: str | None = None,
    report: Report = lambda line: None,
) -> Path:
    """Writes a `.pt` that the original code loads: `{"model": ...}`, float32, in the original order.

    Args:
        source: a folder or weight file in either layout.
        output: file to write; it must not exist.
        config: needed for weight files of models of no released size; a folder has its own.
        weights_key: top-level key to read instead of `model`, such as "ema".

    Raises:
        CheckpointError, CheckpointMismatchError, OutputExistsError: and nothing was written.
    """
    output = Path(output)
    if output.exists():
        raise OutputExistsError(f"{output}: exists already; choose another output or remove it")
    recognised = recognise(read_weights(source, weights_key).state_dict)
    if recognised.image_only:
        raise CheckpointError(f"{source}: image-only weights; the original code loads nothing without the memory part")
    if config is None and (Path(source) / "config.json").is_file():
        config = Sam2Config.from_pretrained(source)
    _check_fit(recognised, _configuration(recognised) if config is None else config)
    state_dict = to_original(recognised.state_dict)
    part = output.with_name(f".{output.name}.part")
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.save({"model": state_dict}, part)
        part.rename(output)
    finally:
        part.unlink(missing_ok=True)
    report(f"wrote {output}: {recognised}, {len(state_dict)} original names")
    return output


def load_checkpoint(
    checkpoint: str | Path,
    *,
    config: Sam2Config | None = None,
    weights_key: str | None = None,
    allow_image_only: bool = False,
    report: Report = lambda line: None,
) -> tuple[Sam2Model, Recognised]:
    """A model from a weight file of any accepted kind, in evaluation mode and float32; see `convert`."""
    weights = read_weights(checkpoint, weights_key)
    for note in weights.notes:
        report(note)
    recognised = recognise(weights.state_dict)
    report(f"{checkpoint}: {recognised}")
    if recognised.image_only and not allow_image_only:
        raise CheckpointMismatchError(
            f"{checkpoint}: image-only weights; pass allow_image_only for a model without video"
        )
    config = _configuration(recognised) if config is None else config
    _check_fit(recognised, config)
    with _no_bars():
        model = Sam2Model.from_pretrained(None, config=config, state_dict=recognised.state_dict, dtype=torch.float32)
    return model.eval(), recognised


def check_sha256(path: str | Path, expected: str) -> None:
    """Raises `CheckpointError` when a file is not the one whose hash was given."""
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: no such file")
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected.lower():
        raise CheckpointError(f"{path}: its SHA-256 is {found}, expected {expected}; download it again")


def push(folder: Path, repository: str, *, private: bool = False, token: str | None = None) -> str:
    """Uploads a converted folder to the Hub and returns its address."""
    api = HfApi(token=token)
    repo_id = api.create_repo(repository, private=private, exist_ok=True).repo_id
    api.upload_folder(folder_path=folder, repo_id=repo_id, commit_message="Upload SAM 2 checkpoint")
    return f"{api.endpoint}/{repo_id}"


@contextmanager
def _no_bars() -> Iterator[None]:
    """Silences the library's progress bars: these are quick steps, each with a line of its own."""
    were_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if were_on:
            logging.enable_progress_bar()


def _configuration(recognised: Recognised) -> Sam2Config:
    if recognised.size is None:
        raise CheckpointMismatchError(
            f"{recognised}: convert it with the configuration it was trained with (--config config.json), "
            "because head counts and windows are not in the weights"
        )
    version = recognised.version or "2.1"
    return getattr(Sam2Config, recognised.size)(version=version, image_only=recognised.image_only)


def _check_fit(recognised: Recognised, config: Sam2Config) -> None:
    """Names and shapes must match one to one, both ways."""
    if recognised.version not in (None, config.version) and not config.image_only:
        raise CheckpointMismatchError(
            f"the weights are SAM {recognised.version}, the configuration is {config.version}; what decides it is "
            f"{', '.join(VERSION_MARKS.values())}, in a file of 2.1 and in none of 2.0"
        )
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in Sam2Model(config).state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in recognised.state_dict.items()}
    missing, unexpected = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or unexpected:
        raise CheckpointMismatchError(
            f"{recognised}: {len(missing)} missing keys{_first(missing)}, "
            f"{len(unexpected)} unexpected{_first(unexpected)}"
        )
    for name, shape in expected.items():
        if found[name] != shape:
            raise CheckpointMismatchError(f"{recognised}: {name} is {found[name]}, but the configuration needs {shape}")


def _first(names: list[str]) -> str:
    return f" (first {', '.join(names[:3])})" if names else ""


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="weight file or folder")
    parser.add_argument("--output", required=True, help="folder to write; with --reverse the .pt to write")
    parser.add_argument("--config", help="config.json, for models of no released size")
    parser.add_argument("--weights-key", help="top-level key to read instead of `model`, such as ema")
    parser.add_argument("--allow-image-only", action="store_true", help="accept weights without the memory part")
    parser.add_argument("--no-verify", action="store_true", help="do not load the result back")
    parser.add_argument("--reverse", action="store_true", help="write a .pt that the original code loads")
    parser.add_argument("--push-to-hub", metavar="REPO", help="upload the result to this repository")
    parser.add_argument("--private", action="store_true", help="make that repository private")
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except (Sam2Error, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace) -> int:
    def report(line: str) -> None:
        print(line, file=sys.stderr)

    config = Sam2Config.from_json_file(options.config) if options.config else None
    shared = {"config": config, "weights_key": options.weights_key, "report": report}
    if options.reverse:
        print(reverse(options.checkpoint, options.output, **shared))
        return 0
    folder = convert(
        options.checkpoint,
        options.output,
        allow_image_only=options.allow_image_only,
        verify=not options.no_verify,
        **shared,
    )
    print(folder)
    if options.push_to_hub:
        print(push(folder, options.push_to_hub, private=options.private))
    return 0


if __name__ == "__main__":
    sys.exit(main())
