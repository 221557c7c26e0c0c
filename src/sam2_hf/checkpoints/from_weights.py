"""From weights of any accepted kind to a model: which configuration they belong to, and whether they fit it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers.utils import logging

from sam2_hf.checkpoints.read_weights import read_weights
from sam2_hf.checkpoints.recognise import VERSION_MARKS, Recognised, recognise
from sam2_hf.errors import CheckpointMismatchError
from sam2_hf.modeling.configuration import Sam2Config
from sam2_hf.modeling.model import Sam2Model

Report = Callable[[str], None]


def load_checkpoint(
    checkpoint: str | Path,
    *,
    config: Sam2Config | None = None,
    weights_key: str | None = None,
    allow_image_only: bool = False,
    report: Report = lambda line: None,
) -> tuple[Sam2Model, Recognised]:
    """A model in evaluation mode and float32 from a weight file of any accepted kind; arguments as for `convert`."""
    weights = read_weights(checkpoint, weights_key)
    for note in weights.notes:
        report(note)
    recognised = recognise(weights.state_dict)
    report(f"{checkpoint}: {recognised}")
    if recognised.image_only and not allow_image_only:
        raise CheckpointMismatchError(
            f"{checkpoint}: image-only weights; pass allow_image_only for a model without video"
        )
    config = configuration_of(recognised) if config is None else config
    check_fit(recognised, config)
    with no_bars():
        model = Sam2Model.from_pretrained(None, config=config, state_dict=recognised.state_dict, dtype=torch.float32)
    return model.eval(), recognised


@contextmanager
def no_bars() -> Iterator[None]:
    """Silences the library's progress bars: these are quick steps, each with a line of its own."""
    were_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if were_on:
            logging.enable_progress_bar()


def configuration_of(recognised: Recognised) -> Sam2Config:
    """The released configuration that weights belong to.

    Raises:
        CheckpointMismatchError: they are of no released size.
    """
    if recognised.size is None:
        raise CheckpointMismatchError(
            f"{recognised}: convert it with the configuration it was trained with (--config config.json), "
            "because head counts and windows are not in the weights"
        )
    version = recognised.version or "2.1"
    return getattr(Sam2Config, recognised.size)(version=version, image_only=recognised.image_only)


def check_fit(recognised: Recognised, config: Sam2Config) -> None:
    """Names and shapes must match one to one, both ways.

    Raises:
        CheckpointMismatchError: the first that does not.
    """
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
