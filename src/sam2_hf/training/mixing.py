"""Several sources in one epoch: which samples make up which batch, and what each sample is.

Everything is a pure function of (seed, epoch, source, item), so that a run can be resumed at any step, with any number
of workers, and two processes see together what one would see alone.
"""

import traceback
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset

from sam2_hf.errors import Sam2Error
from sam2_hf.training.batches import ClipBatch, ClipSample, collate
from sam2_hf.training.sources import Source
from sam2_hf.training.transforms import AugmentOptions, augment, normalise

ORDER_SEED = 42  # of the order of sources, the same in every epoch and on every process

Key = tuple[int, int, int, int]  # epoch, source, item, repetition


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedSource:
    """One source in a mix.

    Attributes:
        source: of clips.
        augment: how its clips are changed.
        batch_size: clips of a batch on one process.
        repeat: how often an epoch takes every clip; fractions are rounded at random, by epoch.
    """

    source: Source
    augment: AugmentOptions
    batch_size: int
    repeat: float = 1.0


def epoch_batches(sources: Sequence[MixedSource], epoch: int, seed: int, processes: int = 1) -> list[list[Key]]:
    """Global batches of an epoch in order; a process takes every `processes`-th entry of each.

    Sources take turns at random, in proportion to their number of batches, until all are exhausted. An incomplete
    last batch is left out, unless it is the only one.
    """
    queues = []
    for number, mixed in enumerate(sources):
        rng = np.random.default_rng((seed, epoch, number))
        turns = turns_of(mixed, rng)
        keys = [(epoch, number, item, turn) for item, count in enumerate(turns) for turn in range(count)]
        if not getattr(mixed.source, "is_ordered", False):
            keys = [keys[pick] for pick in rng.permutation(len(keys))]
        size = mixed.batch_size * processes
        if 0 < len(keys) < size:
            turns = range(-(-size // len(keys)))  # a source smaller than a batch fills one, each time drawn anew
            keys = [(*key[:3], key[3] + turn * len(keys)) for turn in turns for key in keys][:size]
        queues.append([keys[start : start + size] for start in range(0, len(keys) - size + 1, size)])
    order = np.random.default_rng(ORDER_SEED)
    shares = np.array([len(queue) for queue in queues], dtype=float)
    batches = []
    while any(queues):
        left = np.where([bool(queue) for queue in queues], shares, 0.0)
        batches.append(queues[order.choice(len(queues), p=left / left.sum())].pop(0))
    return batches


def epoch_length(sources: Sequence[MixedSource], epoch: int, seed: int, processes: int = 1) -> int:
    """How many batches `epoch_batches` has, without making them."""
    length = 0
    for number, mixed in enumerate(sources):
        count = int(turns_of(mixed, np.random.default_rng((seed, epoch, number))).sum())
        size = mixed.batch_size * processes
        length += max(count // size, int(count > 0))
    return length


def turns_of(mixed: MixedSource, rng: np.random.Generator) -> np.ndarray:
    """How often this epoch takes each clip; fractions of `repeat` are rounded at random."""
    whole = int(mixed.repeat)
    return whole + (rng.random(len(mixed.source)) < mixed.repeat - whole)


class MixedDataset(Dataset):
    """Samples by key, for torch's DataLoader.

    Args:
        sources: of the mix.
        size: side of the model's input.
        seed: of everything that is drawn.
    """

    def __init__(self, sources: Sequence[MixedSource], size: int, seed: int):
        self.sources, self.size, self.seed = sources, size, seed

    def __len__(self) -> int:
        return sum(len(mixed.source) for mixed in self.sources)

    def __getitem__(self, key: Key) -> ClipSample:
        mixed = self.sources[key[1]]
        rng = np.random.default_rng((self.seed, *key))
        clip = augment(mixed.source.sample(key[2], rng), self.size, mixed.augment, rng)
        return ClipSample(
            frames=normalise(clip.frames),
            masks=clip.masks,
            void=clip.void,
            seed=(self.seed, *key, 1),
            name=clip.name,
        )


class CarriedErrors(Dataset):
    """The same samples, but errors of ours are handed on as values, to be raised by the run itself.

    A worker of torch's DataLoader would put them into a traceback of its own. That of the data is kept as a note.
    """

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Key) -> ClipSample | Sam2Error:
        try:
            return self.dataset[key]
        except Sam2Error as error:
            error.add_note("".join(traceback.format_tb(error.__traceback__)))
            return error


def collate_or_error(samples: Sequence[ClipSample | Sam2Error]) -> ClipBatch | Sam2Error:
    """The samples as a batch, or the first error among them."""
    return next((sample for sample in samples if isinstance(sample, Sam2Error)), None) or collate(samples)
