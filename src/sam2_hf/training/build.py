"""From a configuration to what a run needs: sources of clips, and a model with random weights."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from sam2_hf.datasets.clips import LabelledClip
from sam2_hf.datasets.registry import open_dataset
from sam2_hf.datasets.tables import open_table
from sam2_hf.errors import SourceError
from sam2_hf.modeling.configuration import Sam2Config
from sam2_hf.modeling.model import Sam2Model
from sam2_hf.training.config import PYTHON, TABLE, DataConfig, TrainConfig
from sam2_hf.training.decoded import FramesInMemory, FramesOnDisk
from sam2_hf.training.mixing import MixedSource
from sam2_hf.training.own_sources import Lender, open_own_source
from sam2_hf.training.sources import ClipSource, Source
from sam2_hf.training.streams import StreamSource
from sam2_hf.training.transforms import NO_AUGMENTATION

CHECKED_FRAMES = 10_000  # whose headers are read before a run: a few seconds on a local disk


def build_sources(config: TrainConfig, root: str | Path | None = None) -> list[MixedSource]:
    """Opens all data of a run; an error names what is missing.

    Args:
        config: of the run.
        root: where relative folders of the configuration start; default: here.
    """
    return [_mixed_source(entry, _folders(config, root)) for entry in config.data]


def build_validation(config: TrainConfig, root: str | Path | None = None) -> list[MixedSource]:
    """Opens the data that are held out, not augmented and each clip taken once."""
    once = [replace(entry, augment=NO_AUGMENTATION, repeat=1.0) for entry in config.validation]
    return [_mixed_source(entry, _folders(config, root)) for entry in once]


def random_model(config: TrainConfig) -> Sam2Model:
    """A model of `config.model_config` with random weights that depend on the seed only."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return Sam2Model(Sam2Config(**config.model_config))


def with_overrides(model: Sam2Model, overrides: dict) -> Sam2Model:
    """The same weights under a changed configuration, such as another `image_size`.

    Raises:
        RuntimeError: weights that do not fit the changed configuration.
    """
    if not overrides:
        return model
    changed = Sam2Model(Sam2Config.from_dict(model.config.to_dict(), **overrides))
    changed.load_state_dict(model.state_dict())
    return changed.train(model.training)


def hold_out_clips(config: TrainConfig, share: float, root: str | Path | None = None) -> tuple[TrainConfig, list[str]]:
    """Takes every n-th clip of each data set out of training and into validation.

    Args:
        config: of the run; tables and sources of your own are left as they are.
        share: of the clips, in (0, 1).
        root: as for `build_sources`.

    Returns:
        the changed configuration, and the names of the clips that were taken out.
    """
    base = Path() if root is None else Path(root)
    data, validation, names = [], list(config.validation), []
    for entry in config.data:
        if entry.kind in (TABLE, PYTHON):
            data.append(entry)
            continue
        clips = [clip.name for clip in open_clips(entry, base)]
        held = [name for index, name in enumerate(clips) if int((index + 1) * share) > int(index * share)]
        if not held or len(held) == len(clips):
            raise SourceError(
                f"{entry.root}: {share:g} of {len(clips)} clips leaves nothing to train or to validate on"
            )
        literal = tuple(_literal(name) for name in held)
        data.append(replace(entry, exclude=(*entry.exclude, *literal)))
        validation.append(replace(entry, include=literal, exclude=()))
        names += held
    return replace(config, data=tuple(data), validation=tuple(validation)), names


def _literal(name: str) -> str:
    """A name as a pattern that matches nothing else."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def open_clips(entry: DataConfig, base: Path) -> list[LabelledClip]:
    """The clips of one data set that its `include` and `exclude` leave.

    Raises:
        SourceError: none is left, or a pattern matches nothing.
    """
    return _chosen(entry, open_dataset(entry.kind, base / entry.root, **entry.options))


def _chosen(entry: DataConfig, clips: list[LabelledClip]) -> list[LabelledClip]:
    for pattern in (*entry.include, *entry.exclude):
        if not any(fnmatchcase(clip.name, pattern) for clip in clips):
            raise SourceError(
                f"{entry.root}: no clip is called {pattern!r}; the first are {[c.name for c in clips[:5]]}"
            )
    kept = [clip for clip in clips if not entry.include or _matches(clip.name, entry.include)]
    kept = [clip for clip in kept if not _matches(clip.name, entry.exclude)]
    if not kept:
        raise SourceError(f"{entry.root}: `include` and `exclude` leave no clip")
    return kept


@dataclass(frozen=True, slots=True, kw_only=True)
class _Folders:
    """Where data is, and where decoded frames are kept; None: in memory."""

    base: Path
    cache: Path | None

    def open(self, entry: DataConfig) -> Lender:
        """The clips of an entry and their frames; the cache holds all clips of a data set, whatever the entry takes."""
        clips = open_dataset(entry.kind, self.base / entry.root, **entry.options)
        chosen = _chosen(entry, clips)
        if self.cache is None or entry.max_side is None:
            check_sizes(chosen)
            return Lender(clips=chosen, frames=FramesInMemory(chosen, entry.max_side))
        made_from = f"{(self.base / entry.root).resolve()} {sorted(entry.options.items())}"
        folder = self.cache / f"{Path(entry.root).name}-{entry.max_side}-{zlib.crc32(made_from.encode()):08x}"
        return Lender(clips=chosen, frames=FramesOnDisk.open(clips, folder, entry.max_side).of(chosen))


def check_sizes(clips: Sequence[LabelledClip], most: int = CHECKED_FRAMES) -> None:
    """Looks for masks of another size than their pictures before a run begins; a cache reads everything anyway.

    Args:
        most: labelled frames that are looked at; what comes after them is found when its turn comes.

    Raises:
        SourceError: a mask of another size, or a file that is damaged in its header.
    """
    for clip in clips:
        most -= len(clip.labelled_frames)
        if most < 0:
            return
        for frame in clip.doubtful_frames():
            clip.frame(frame)
            clip.masks(frame)


def _folders(config: TrainConfig, root: str | Path | None) -> _Folders:
    return _Folders(base=Path(root or ""), cache=None if config.cache is None else Path(config.cache))


def _mixed_source(entry: DataConfig, folders: _Folders) -> MixedSource:
    return MixedSource(
        source=_source(entry, folders), augment=entry.augment, batch_size=entry.batch_size, repeat=entry.repeat
    )


def _source(entry: DataConfig, folders: _Folders) -> Source:
    if entry.kind == TABLE:
        columns = {name: entry.options[name] for name in ("image", "masks") if name in entry.options}
        others = {name: value for name, value in entry.options.items() if name not in columns}
        return StreamSource(open_table(entry.root, **others), entry.count, entry.sampling, **columns)
    if entry.kind == PYTHON:
        return open_own_source(entry, folders.base, [folders.open(lender) for lender in entry.library])
    opened = folders.open(entry)
    return ClipSource(opened.clips, entry.sampling, frames=opened.frames)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
