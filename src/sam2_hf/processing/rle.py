"""Masks as COCO run lengths: a sequence that holds strings and gives dense masks one at a time."""

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from pycocotools import mask as coco

GIBIBYTE = 2**30
MOST_PIXELS = 2**32 - 1  # pycocotools counts runs in 32 bits
FARTHEST = 10  # sides of the picture that a polygon's corner may lie outside; beyond, pycocotools asks for all memory


class Masks(Sequence):
    """N masks of one size, kept as run lengths.

    `masks[i]` is a bool array (height, width), decoded on demand; `masks.rle` are the COCO dictionaries
    `{"size": [height, width], "counts": str}`, column by column; counts may be given as bytes or numbers too.

    Raises:
        ValueError: it is no run-length mask, its runs do not fill its size, or that is not the size of the others.
    """

    def __init__(self, rle: Sequence[dict], size: tuple[int, int]):
        for entry in rle:
            check_rle(entry)
            if tuple(entry["size"]) != tuple(size):
                raise ValueError(f"a mask has size {tuple(entry['size'])}, the picture {tuple(size)}")
        self.rle = tuple({"size": list(entry["size"]), "counts": _as_text(entry)} for entry in rle)
        self.size = size

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

    __hash__ = None  # type: ignore[assignment]

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
    """One mask, (height, width) bool; the counts may be a string, bytes or a list of numbers.

    Raises:
        ValueError: it is no run-length mask, or its runs do not fill its size.
        MemoryError: it is too large for this machine.
    """
    runs = check_rle(entry)
    height, width = entry["size"]
    columns = np.repeat(np.arange(len(runs)) % 2 == 1, runs)  # pycocotools crashes where memory is short
    return columns.reshape(width, height).T


def _as_bytes(entry: dict) -> dict:
    counts, size = entry["counts"], list(entry["size"])
    if isinstance(counts, (list, tuple, np.ndarray)):
        return coco.frPyObjects({"size": size, "counts": np.asarray(counts).tolist()}, *size)
    return {"size": size, "counts": counts.encode("ascii") if isinstance(counts, str) else counts}


def _as_text(entry: dict) -> str:
    return entry["counts"] if isinstance(entry["counts"], str) else _as_bytes(entry)["counts"].decode("ascii")


def check_rle(entry: dict) -> np.ndarray:
    """Lengths of the runs, (runs,) int64, outside and inside in turn.

    Raises:
        ValueError: they do not fill the mask; pycocotools would read past their end, or write past the mask's.
    """
    if not isinstance(entry, dict) or not {"size", "counts"} <= entry.keys():
        raise ValueError(f"a run-length mask is a dictionary with size and counts, got {str(entry)[:80]!r}")
    size = entry["size"]
    is_pair = isinstance(size, (list, tuple)) and len(size) == 2
    if not is_pair or not all(isinstance(side, (int, np.integer)) and side >= 0 for side in size):
        raise ValueError(f"the size of a run-length mask is [height, width], got {size!r}")
    runs, pixels = _runs(entry["counts"]), int(size[0]) * int(size[1])
    if (runs < 0).any():
        raise ValueError(f"a run-length mask has a run of {runs.min()} pixels")
    if pixels > MOST_PIXELS:
        raise ValueError(f"a mask of {size[0]} x {size[1]} pixels is too large for run lengths ({MOST_PIXELS} pixels)")
    filled = sum(runs.tolist()) if (runs > pixels).any() else int(runs.sum())  # 64 bits would begin again at 0
    if filled != pixels:
        raise ValueError(f"the runs of a mask of {size[0]} x {size[1]} fill {filled} of {pixels} pixels")
    return runs


def _runs(counts) -> np.ndarray:
    """Lengths of the runs, (runs,) int64, of a list or of COCO's string: numbers of 5 bits a character, in two's
    complement, the lowest first; from the fourth on they are differences to the one before the last.
    """
    if isinstance(counts, (list, tuple, np.ndarray)):
        numbers = np.asarray(counts)
        if numbers.ndim != 1 or (numbers.size and not np.issubdtype(numbers.dtype, np.integer)):
            raise ValueError(f"the counts of a run-length mask are whole numbers, got {str(counts)[:80]!r}")
        return numbers.astype(np.int64)
    if not isinstance(counts, (str, bytes)) or not len(counts):
        raise ValueError(f"the counts of a run-length mask are a string or whole numbers, got {str(counts)[:80]!r}")
    try:
        text = counts.encode("ascii") if isinstance(counts, str) else counts
    except UnicodeEncodeError as error:
        raise ValueError(f"the counts of a run-length mask are ASCII, got {counts[:80]!r}") from error
    codes = np.frombuffer(text, dtype=np.uint8).astype(np.int64) - ord("0")
    is_last = (codes & 32) == 0
    if (codes < 0).any() or (codes > 63).any() or not is_last[-1]:
        raise ValueError(f"the counts of a run-length mask are damaged or cut off: {str(counts)[:80]!r}")
    starts = np.flatnonzero(np.concatenate(([True], is_last[:-1])))
    place = np.arange(len(codes)) - np.repeat(starts, np.diff(np.append(starts, len(codes))))
    if place.max() > 11:  # more than 60 bits
        raise ValueError(f"the counts of a run-length mask are damaged: {str(counts)[:80]!r}")
    values = np.add.reduceat((codes & 31) << (5 * place), starts)
    is_negative = (codes[is_last] & 16) != 0
    values -= np.where(is_negative, np.int64(1) << (5 * (place[is_last] + 1)), 0)
    values[2::2], values[1::2] = np.cumsum(values[2::2]), np.cumsum(values[1::2])
    return values


def polygons_to_mask(polygons: list, size: tuple[int, int]) -> np.ndarray:
    """COCO polygons `[[x, y, x, y, ...], ...]` of one object as a mask (height, width) bool, drawn by pycocotools.

    Raises:
        ValueError: no polygon, one of fewer than three corners, or corners far outside the picture or not finite.
    """
    height, width = size
    for polygon in polygons:
        corners = np.asarray(polygon, dtype=np.float64) if isinstance(polygon, (list, tuple)) else np.empty(0)
        if corners.ndim != 1 or corners.size < 6 or corners.size % 2:
            raise ValueError(f"a polygon is [x, y, x, y, ...] with at least three corners, got {str(polygon)[:80]}")
        farthest = np.abs(corners).max()
        if not farthest <= FARTHEST * max(height, width, 1):  # NaN too
            raise ValueError(f"a polygon of a picture of {width} x {height} pixels reaches {farthest:g}")
    if not polygons:
        raise ValueError("a segmentation without a polygon has no mask")
    return decode_rle(coco.merge(coco.frPyObjects([list(map(float, polygon)) for polygon in polygons], height, width)))
