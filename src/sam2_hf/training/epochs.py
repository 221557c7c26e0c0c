"""The batches of a run: how many each epoch has, and those that one process gets."""

from collections.abc import Iterator, Sequence
from itertools import islice

from torch.utils.data import DataLoader

from sam2_hf.errors import ConfigError, Sam2Error
from sam2_hf.training.batches import ClipBatch
from sam2_hf.training.config import TrainConfig
from sam2_hf.training.mixing import (
    CarriedErrors,
    MixedDataset,
    MixedSource,
    collate_or_error,
    epoch_batches,
    epoch_length,
)


class Epochs:
    """Epochs of a mix of sources; each is a pure function of the seed and its number.

    Args:
        sources: of the mix.
        config: of the run.
        image_size: side of the model's input.
        process, processes: which one of how many this is.

    Attributes:
        lengths: batches of each epoch.

    Raises:
        ConfigError: all of them together are less than a step.
    """

    def __init__(
        self, sources: Sequence[MixedSource], config: TrainConfig, image_size: int, process: int = 0, processes: int = 1
    ):
        self._sources, self._config = list(sources), config
        self._process, self._processes = process, processes
        self._dataset = CarriedErrors(MixedDataset(self._sources, image_size, config.seed))
        self.lengths = [epoch_length(self._sources, epoch, config.seed, processes) for epoch in range(config.epochs)]
        if not self.total_steps:
            raise ConfigError(
                f"{sum(self.lengths)} batches in {config.epochs} epochs are less than one step of {config.accumulate}; "
                "raise `epochs`, or lower `accumulate`"
            )

    @property
    def total_steps(self) -> int:
        """Steps of the whole run, for which the learning rate is planned."""
        steps = sum(self.lengths) // self._config.accumulate
        return steps if self._config.max_steps is None else min(steps, self._config.max_steps)

    def batches(self, epoch: int, skip: int = 0) -> Iterator[tuple[int, ClipBatch]]:
        """The batches of an epoch with their numbers, without the first ones, which were done before.

        Raises:
            Sam2Error: what is wrong with a clip, when its turn comes.
        """
        keys = epoch_batches(self._sources, epoch, self._config.seed, self._processes)[skip:]
        loader = DataLoader(
            self._dataset,
            batch_sampler=[batch[self._process :: self._processes] for batch in keys],
            collate_fn=collate_or_error,
            num_workers=self._config.workers,
            prefetch_factor=4 if self._config.workers else None,
        )
        for number, batch in enumerate(islice(loader, self.lengths[epoch] - skip), skip):
            if isinstance(batch, Sam2Error):
                raise batch
            yield number, batch
