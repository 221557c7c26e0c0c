"""Tables of the Hub or a local folder, and what their columns of masks hold."""

import numpy as np
from PIL import Image

from sam2_hf.errors import MissingExtraError, SourceError
from sam2_hf.processing.rle import decode_rle


def masks_of(value) -> dict[int, np.ndarray]:
    """Object id to mask, from what a column of masks holds."""
    if isinstance(value, Image.Image) or getattr(value, "ndim", None) == 2:
        ids = np.asarray(value)
        if ids.ndim != 2:
            raise SourceError(f"a picture of object ids has one channel, this one has mode {value.mode}")
        values = [key for key in np.unique(ids).tolist() if key]
        return {key: ids == key for key in values}
    parts = [decode_rle(part) if isinstance(part, dict) else np.asarray(part) > 0 for part in value]
    return dict(enumerate(parts, 1))


def open_table(root: str, *, split: str = "train", streaming: bool = True, shuffle_buffer: int = 0, seed: int = 0):
    """A table of the Hub or a local folder.

    Raises:
        MissingExtraError: `datasets` is not installed.
    """
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise MissingExtraError('tables need datasets: pip install "sam2_hf[data]"') from error
    rows = load_dataset(root, split=split, streaming=streaming)
    if shuffle_buffer:
        rows = rows.shuffle(seed=seed, buffer_size=shuffle_buffer) if streaming else rows.shuffle(seed=seed)
    return rows
