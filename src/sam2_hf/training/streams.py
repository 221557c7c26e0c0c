"""Data sets of the Hub and other `datasets` tables, streamed or not, as pictures with masks."""

from collections.abc import Iterator

import numpy as np

from sam2_hf.datasets.clips import ArrayClip
from sam2_hf.datasets.tables import masks_of
from sam2_hf.errors import SourceError
from sam2_hf.training.sources import ClipSource, SamplingOptions
from sam2_hf.training.transforms import RawClip


class StreamSource:
    """Rows of a table, read in order. A row that was passed is not kept, so a stream of any length needs no memory.

    Args:
        rows: a `datasets.Dataset` or `IterableDataset`, shuffled if wanted, or any object whose `iter` starts over.
        count: rows of an epoch.
        options: which objects are taken; rows are pictures, so `num_frames` is 1.
        image, masks: names of the columns. Masks are a picture of object ids, a list of black-and-white pictures, or a
            list of COCO run lengths.
    """

    is_ordered = True  # an epoch takes the rows as they come

    def __init__(self, rows, count: int, options: SamplingOptions, *, image: str = "image", masks: str = "masks"):
        if options.num_frames != 1:
            raise SourceError(f"rows of a table are pictures, so `num_frames` is 1, got {options.num_frames}")
        self.rows, self.count, self.options = rows, count, options
        self.image, self.masks = image, masks
        self._iterator: Iterator | None = None
        self._next = 0

    def __len__(self) -> int:
        return self.count

    def sample(self, index: int, rng: np.random.Generator) -> RawClip:
        row = self._row(index)
        missing = [name for name in (self.image, self.masks) if name not in row]
        if missing:
            raise SourceError(f"row {index} has no column {missing[0]!r}; columns are {', '.join(row)}")
        clip = ArrayClip(f"row {index}", [row[self.image]], [masks_of(row[self.masks])])
        return ClipSource([clip], self.options).sample(0, rng)

    def _row(self, index: int) -> dict:
        if self._iterator is None or index < self._next:
            rows = self.rows.skip(index) if hasattr(self.rows, "skip") else self.rows
            self._iterator, self._next = iter(rows), index if hasattr(self.rows, "skip") else 0
        for row in self._iterator:
            self._next += 1
            if self._next > index:
                return row
        raise SourceError(f"the table ends after {self._next} rows, but row {index} was wanted; lower `count`")
