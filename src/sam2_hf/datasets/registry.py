"""Data sets by the name of their kind.

    open_dataset("davis", root)      JPEGImages/<clip>/*.jpg, Annotations/<clip>/*.png with object ids
    open_dataset("sav", root)        frames as above, Annotations/<clip>/<object>/*.png; or SA-V's mp4 and JSON
    open_dataset("masks", root)      pictures with NAME.mask.png beside them, or images/ and masks/
    open_dataset("coco", root), ("labelme", root), ("sa1b", root)

A new kind is one file in `formats/` with a function that is registered under its name; one of your own is registered in
the same way from anywhere:

    @dataset_format("mine")
    def open_mine(root: Path, *, option: bool = False) -> list[LabelledClip]: ...
"""

import pkgutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from sam2_hf.datasets import formats
from sam2_hf.datasets.clips import LabelledClip
from sam2_hf.errors import ConfigError, SourceError

Opener = Callable[..., list[LabelledClip]]

_openers: dict[str, Opener] = {}


def dataset_format(name: str) -> Callable[[Opener], Opener]:
    """Registers a function that opens the data sets of one kind.

    Args:
        name: that `open_dataset`, the configuration of a training run and `--dataset` take.

    Raises:
        ValueError: another function has this name.
    """

    def register(opener: Opener) -> Opener:
        if name in _openers and _openers[name].__module__ != opener.__module__:
            raise ValueError(f"data sets of kind {name!r} are opened by {_openers[name].__module__} already")
        _openers[name] = opener
        return opener

    return register


def dataset_formats() -> dict[str, Opener]:
    """Functions that open data sets, by the name of their kind."""
    for module in pkgutil.iter_modules(formats.__path__, f"{formats.__name__}."):
        import_module(module.name)
    return dict(sorted(_openers.items()))


def open_dataset(kind: str, root: str | Path, **options) -> list[LabelledClip]:
    """Opens a data set.

    Args:
        kind: "davis", "sav", "masks", "coco", "labelme", "sa1b", or one that was registered.
        root: its folder.
        options: of the kind, see its function.

    Raises:
        SourceError: there is no such folder, or it does not hold what the kind needs; the message says what.
        ConfigError: there is no such kind.
    """
    openers = dataset_formats()
    if kind not in openers:
        raise ConfigError(f"there is no data set kind {kind!r}; kinds are {', '.join(openers)}")
    root = Path(root)
    if not root.is_dir():
        raise SourceError(f"{root}: there is no such folder")
    clips = openers[kind](root, **options)
    if not clips:
        raise SourceError(f"{root}: holds no {kind} data; see `sam2_hf.datasets.registry` for the layout")
    return clips
