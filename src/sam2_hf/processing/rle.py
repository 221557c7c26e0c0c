"""Masks as COCO run lengths: a sequence that holds strings and gives dense masks one at a time."""

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from pycocotools import mask as coco

GIBIBYTE = 2**30


class Masks(Sequence):
    """N masks of one size, kept as run lengths.

    `masks[i]` is a bool array (height, width), decoded on demand; `masks.rle` are the COCO dictionaries
    `{"size": [height, width], "counts": str}`, column by column.
    """

    def __init__(self, rle: Sequence[dict], size: tuple[int, int]):
        self.rle = tuple({"size": list(entry["size"]), "counts": entry["counts"]} for entry in rle)
        self.size = size
        for entry in self.rle:
            if tuple(entry["size"]) != tuple(size):
                raise ValueError(f"a mask has size {tuple(entry['size'])}, the picture {tuple(size)}")

    @classmethod
    def from_dense(cls, masks: np.ndarray, size: tuple[int, int]) -> "Masks":
        """From a bool array (N, height, width)."""
        columns_first = np.asfortranarray(np.asarray(masks, dtype=np.uint8).transpose(1, 2, 0))
        encoded = coco.encode(columns_first) if columns_first.size else []
        return cls([{**entry, "counts": entry["counts"].decode("ascii")} for entry in encoded], size)

    def __len__(self) -> int:
        return len(self.rle)

    def __repr__(self) -> str:
        return f"Masks({len(self)} of {self.size[0]} x {self.size[1]} pixels)"

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Masks(self.rle[index], self.size)
        return decode_rle(self.rle[index])

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    def __eq__(self, other) -> bool:
        return isinstance(other, Masks) and self.rle == other.rle and tuple(self.size) == tuple(other.size)

    __hash__ = None

    def dense(self) -> np.ndarray:
        """All masks at once, (N, height, width) bool. Warns above 1 GiB; iterating holds one mask at a time."""
        count = len(self) * self.size[0] * self.size[1]
        if count > GIBIBYTE:
            size = f"{len(self)} masks of {self.size[0]} x {self.size[1]} pixels take {count / GIBIBYTE:.1f} GiB"
            warnings.warn(f"{size} at once; iterate over the masks instead", UserWarning, stacklevel=2)
        return np.stack(list(self)) if len(self) else np.zeros((0, *self.size), dtype=bool)

    def areas(self) -> np.ndarray:
        """Pixels of each mask, (N,) int64."""
        return np.array([int(coco.area(_as_bytes(entry))) for entry in self.rle], dtype=np.int64)

    def boxes(self) -> np.ndarray:
        """Boxes (x0, y0, x1, y1) on pixel edges, (N, 4) float32; an empty mask has zeros."""
        corners = [coco.toBbox(_as_bytes(entry)) for entry in self.rle]
        boxes = np.array(corners, dtype=np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return boxes


def decode_rle(entry: dict) -> np.ndarray:
    """One mask, (height, width) bool; the counts may be a string, bytes or a list of numbers."""
    if isinstance(entry["counts"], list):
        entry = coco.frPyObjects(entry, *entry["size"])
    with warnings.catch_warnings():  # pycocotools 2.0.11 converts arrays in a way that NumPy 2 warns of
        warnings.filterwarnings("ignore", message="__array__ implementation", category=DeprecationWarning)
        return coco.decode(_as_bytes(entry)).astype(bool)


def _as_bytes(entry: dict) -> dict:
    counts = entry["counts"]
    return {"size": entry["size"], "counts": counts.encode("ascii") if isinstance(counts, str) else counts}
