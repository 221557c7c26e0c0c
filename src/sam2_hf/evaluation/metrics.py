"""How well one mask matches another: J, F, Dice, boundary IoU.

Masks are bool arrays (height, width) of equal size, `predicted` first. Scores are fractions, 0 to 1. J and F are those
of DAVIS and SA-V (arXiv 2408.00714, section 6).
"""

import math

import numpy as np
from scipy import ndimage

BOUNDARY_TOLERANCE = 0.008  # of the diagonal: how far a boundary pixel may be off
BAND_WIDTH = 0.02  # of the diagonal: the inner band of boundary IoU


def region_similarity(predicted: np.ndarray, truth: np.ndarray) -> float:
    """J, the intersection over the union; 1 if both are empty.

    Raises:
        ValueError: the masks differ in size.
    """
    check_pair(predicted, truth)
    union = np.count_nonzero(predicted | truth)
    return np.count_nonzero(predicted & truth) / union if union else 1.0


def dice(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Twice the intersection over the sum of the areas; 1 if both are empty. (frames, height, width) is a volume."""
    check_pair(predicted, truth)
    areas = np.count_nonzero(predicted) + np.count_nonzero(truth)
    return 2 * np.count_nonzero(predicted & truth) / areas if areas else 1.0


def contour_accuracy(predicted: np.ndarray, truth: np.ndarray) -> float:
    """F: harmonic mean of the shares of boundary pixels that lie near the other mask's boundary.

    Two empty boundaries give 1, one empty boundary 0. A mask of the whole picture has no boundary.
    """
    check_pair(predicted, truth)
    radius = boundary_radius(truth.shape)
    part = _around(predicted | truth)
    found, wanted = boundary(predicted[part]), boundary(truth[part])
    if not found.any() or not wanted.any():
        return 1.0 if found.any() == wanted.any() else 0.0
    precision = np.count_nonzero(found & near(wanted, radius)) / np.count_nonzero(found)
    recall = np.count_nonzero(wanted & near(found, radius)) / np.count_nonzero(wanted)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary_radius(size: tuple[int, int]) -> int:
    """Pixels that a boundary of a picture (height, width) may be off."""
    return math.ceil(BOUNDARY_TOLERANCE * math.hypot(*size))


def boundary(mask: np.ndarray) -> np.ndarray:
    """Pixels that differ from their right, lower or lower-right neighbour; there are none beyond the picture."""
    edges = np.zeros_like(mask)
    edges[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edges[:-1, :] |= mask[:-1, :] != mask[1:, :]
    edges[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return edges


def near(edges: np.ndarray, radius: float) -> np.ndarray:
    """Pixels within a Euclidean distance of `radius` to an edge pixel: a dilation with the digital disk."""
    if not edges.any():
        return np.zeros_like(edges)
    return ndimage.distance_transform_edt(~edges) <= radius


def boundary_iou(predicted: np.ndarray, truth: np.ndarray) -> float:
    """IoU of the inner boundary bands (arXiv 2103.16562), 0.02 of the diagonal wide."""
    width = max(1, round(BAND_WIDTH * math.hypot(*truth.shape)))
    return region_similarity(_inner_band(predicted, width), _inner_band(truth, width))


def tight_box(mask: np.ndarray) -> list[int]:
    """[x0, y0, x1, y1] of a mask that is not empty: indices of its first and last columns and rows."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])]


def check_pair(predicted: np.ndarray, truth: np.ndarray) -> None:
    """Raises `ValueError` unless both are bool arrays of one size."""
    if predicted.shape != truth.shape:
        raise ValueError(f"the prediction is (height, width) {predicted.shape}, the truth {truth.shape}")
    for name, mask in (("predicted", predicted), ("truth", truth)):
        if mask.dtype != bool:
            raise ValueError(f"`{name}` must be bool, got {mask.dtype}; compare with a threshold first")


def _around(mask: np.ndarray) -> tuple[slice, slice]:
    """The part of a picture that holds a mask and one pixel around it: boundaries of the part are those of the whole.

    Every boundary pixel is inside, so distances between boundaries are the same too.
    """
    if not mask.any():
        return slice(0, 1), slice(0, 1)
    x0, y0, x1, y1 = tight_box(mask)
    return slice(max(y0 - 1, 0), y1 + 2), slice(max(x0 - 1, 0), x1 + 2)


def _inner_band(mask: np.ndarray, width: int) -> np.ndarray:
    """Pixels of a mask that a square of side 2 `width` + 1 around them does not fit into; the border is outside."""
    inner = ndimage.binary_erosion(mask, np.ones((3, 3), dtype=bool), iterations=width)
    return mask & ~inner
