"""Every error that sam2_hf raises on purpose.

Sam2Error
├── PromptError (ValueError)          points, boxes, labels or masks that cannot be meant
├── SourceError (ValueError)          a picture, folder or video that cannot be read as given
│   └── DecodeError                   the data of the file itself is broken
├── ConfigError (ValueError)          a setting of a run that does not exist or cannot be meant
├── CheckpointError (ValueError)      a weight file that is not a SAM 2 checkpoint, or is damaged
│   └── CheckpointMismatchError       a SAM 2 checkpoint, but not of this configuration
├── MissingWeightsError               the model was loaded without the part that this call needs
├── TrainingError                     a run that cannot go on: its loss is not a number
├── MissingExtraError (ImportError)   an optional library is not installed
├── ConfigChangedError                a run cannot be resumed with other options than it was begun with
└── OutputExistsError (FileExistsError)  the result would overwrite something
"""


class Sam2Error(Exception):
    """Base of all errors that sam2_hf raises on purpose."""


class PromptError(Sam2Error, ValueError):
    """A prompt that cannot be meant: wrong depth, wrong counts, NaN, far outside the picture."""


class SourceError(Sam2Error, ValueError):
    """A picture or video that cannot be read as given."""


class DecodeError(SourceError):
    """The data of a file is broken or not of the kind its name says."""


class ConfigError(Sam2Error, ValueError):
    """A setting of a run that does not exist, or whose value cannot be meant."""


class CheckpointError(Sam2Error, ValueError):
    """A weight file that is damaged or does not hold a SAM 2 model."""


class CheckpointMismatchError(CheckpointError):
    """A SAM 2 checkpoint that does not fit the configuration it was asked to fill."""


class MissingWeightsError(Sam2Error):
    """The loaded checkpoint has no weights for what was asked, such as memory for a video."""


class TrainingError(Sam2Error):
    """A training run cannot go on; the last checkpoint is kept."""


class MissingExtraError(Sam2Error, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


class ConfigChangedError(Sam2Error):
    """A run is to be resumed with other options than it was begun with."""


class OutputExistsError(Sam2Error, FileExistsError):
    """Writing would overwrite an earlier result."""
