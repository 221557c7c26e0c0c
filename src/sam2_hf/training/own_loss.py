"""A loss that a recipe brings along, as a Python file beside it, added to that of the masks.

    "extra_loss": {"root": "dense.py", "options": {...}}

The file has a function `open_loss(config, options)` that returns a `torch.nn.Module` for models of a `Sam2Config`.
The module learns with the model; it is saved with the run, not with the model. Its `forward(features, batch, progress)`
gets the raw `ImageFeatures` of all frames of a `ClipBatch`, (videos * frames, ...), and the share of the steps that are
done, in [0, 1). It returns a scalar that is added to the loss and logged as `extra`, or None for nothing.
"""

from pathlib import Path

from torch import nn

from sam2_hf.modeling.configuration import Sam2Config
from sam2_hf.training.own_files import opener


def open_own_loss(entry, config: Sam2Config) -> nn.Module:
    """Runs the file that an entry names and asks it for the loss.

    Args:
        entry: an `ExtraLoss` of the configuration.
        config: of the model that learns.

    Raises:
        SourceError: there is no such file.
        ConfigError: it has no function `open_loss`.
    """
    return opener(Path(entry.root), "open_loss(config, options)", "a loss")(config, entry.options)
