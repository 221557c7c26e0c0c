"""Original SAM 2 / 2.1 checkpoints to the Hub's layout, and back.

Everything is checked before anything gets its final name: a wrong, cut-off or foreign file leaves nothing behind.
"""

import hashlib
import shutil
import tempfile
from pathlib import Path

import torch
from huggingface_hub import HfApi

from sam2_hf.checkpoints.from_weights import Report, check_fit, configuration_of, load_checkpoint, no_bars
from sam2_hf.checkpoints.key_map import to_original
from sam2_hf.checkpoints.read_weights import read_weights
from sam2_hf.checkpoints.recognise import recognise
from sam2_hf.checkpoints.remote_code import add_remote_code
from sam2_hf.checkpoints.verify import verify_folder
from sam2_hf.errors import CheckpointError, OutputExistsError
from sam2_hf.modeling.configuration import Sam2Config
from sam2_hf.modeling.model_card import converted_card
from sam2_hf.processing.processor import Sam2Processor


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
        with no_bars():
            model.save_pretrained(part)
            Sam2Processor.from_config(model.config).save_pretrained(part)
        (part / "README.md").write_text(converted_card(model.config, Path(checkpoint).name))
        if verify:
            with no_bars():
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
    check_fit(recognised, configuration_of(recognised) if config is None else config)
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


def check_sha256(path: str | Path, expected: str) -> None:
    """Raises `CheckpointError` when a file is not the one whose hash was given."""
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: no such file")
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected.lower():
        raise CheckpointError(f"{path}: its SHA-256 is {found}, expected {expected}; download it again")


def push(folder: Path, repository: str, *, private: bool = False, token: str | None = None) -> str:
    """Uploads a converted folder to the Hub and returns its address.

    The repository also says which classes of this package are meant, for `trust_remote_code=True`.
    """
    add_remote_code(folder)
    api = HfApi(token=token)
    repo_id = api.create_repo(repository, private=private, exist_ok=True).repo_id
    api.upload_folder(folder_path=folder, repo_id=repo_id, commit_message="Upload SAM 2 checkpoint")
    return f"{api.endpoint}/{repo_id}"
