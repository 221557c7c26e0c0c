"""Sources of clips that a recipe brings along, as a Python file beside it.

    {"kind": "python", "root": "composing.py", "options": {...}, "library": [{"kind": "masks", ...}], "count": 2000}

The file has a function `open_source(entry, base, lenders)` that returns a `Source`: something with a length whose
`sample(index, rng)` gives a `RawClip` and draws from `rng` only, so that a run can be resumed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sam2_hf.datasets.clips import LabelledClip
from sam2_hf.training.decoded import DecodedFrames
from sam2_hf.training.own_files import opener
from sam2_hf.training.sources import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Lender:
    """A data set of the `library` of an entry.

    Attributes:
        clips: that `include` and `exclude` leave.
        frames: of these clips, decoded, by their place in the list.
    """

    clips: Sequence[LabelledClip]
    frames: DecodedFrames


def open_own_source(entry, base: Path, lenders: Sequence[Lender]) -> Source:
    """Runs the file that an entry names and asks it for the source.

    Args:
        entry: a `DataConfig` whose `root` is a Python file.
        base: where the data of the run is.
        lenders: one per entry of its `library`.

    Raises:
        SourceError: there is no such file.
        ConfigError: it has no function `open_source`.
    """
    return opener(Path(entry.root), "open_source(entry, base, lenders)", "a source of clips")(entry, base, lenders)
