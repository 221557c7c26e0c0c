"""Sources of clips that a recipe brings along, as a Python file beside it.

    {"kind": "python", "root": "composing.py", "options": {...}, "library": [{"kind": "masks", ...}], "count": 2000}

The file has a function `open_source(entry, base, lenders)` that returns a `Source`: something with a length whose
`sample(index, rng)` gives a `RawClip` and draws from `rng` only, so that a run can be resumed.
"""

import importlib.util
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sam2_hf.datasets.clips import LabelledClip
from sam2_hf.errors import ConfigError, SourceError
from sam2_hf.training.decoded import DecodedFrames
from sam2_hf.training.sources import Source

OPENER = "open_source"


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
    path = Path(entry.root)
    if not path.is_file():
        raise SourceError(f"{path}: there is no such file, but the run takes a source from it")
    module = _module(path)
    if not callable(getattr(module, OPENER, None)):
        raise ConfigError(f"{path}: has no function `{OPENER}(entry, base, lenders)` that returns a source of clips")
    return getattr(module, OPENER)(entry, base, lenders)


def _module(path: Path):
    """The file as a module; files beside it can be imported by it, and classes of it by worker processes."""
    name = f"sam2_hf_recipe_{path.stem}_{zlib.crc32(str(path).encode()):08x}"
    if name in sys.modules:
        return sys.modules[name]
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
