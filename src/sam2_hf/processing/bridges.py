"""A mask as one closed polygon: holes and parts joined to it by bridges, lines that are walked forth and back.

The reader of such a polygon is OpenCV's `fillPoly` on whole numbers: it draws the outline and fills by parity, so that
a bridge inside the mask changes nothing and one across the background adds the pixels of a line. `fill_polygons` does
the same here, and `polygon_fit` says what a reader will see.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sam2_hf.processing.components import numbered_parts
from sam2_hf.processing.polygons import mask_rings

Parts = Literal["bridge", "split", "largest"]
MIN_POINTS = 3  # of a polygon that readers accept


@dataclass(frozen=True, slots=True, kw_only=True)
class PolygonFit:
    """What polygons make of a mask once they are filled again.

    Attributes:
        iou: of the filled polygons with the mask, 0 to 1; 1 where both are empty.
        bridged: pixels of the background that they cover.
        lost: pixels of the mask that they leave out.
    """

    iou: float
    bridged: int
    lost: int


def center_polygons(mask: np.ndarray, parts: Parts = "bridge", tolerance: float = 0.0) -> list[np.ndarray]:
    """Closed polygons through pixel centres, with holes cut in by bridges.

    Args:
        mask: (height, width) bool.
        parts: "bridge" joins all parts to one polygon, "split" gives one per part, "largest" leaves the others out.
        tolerance: leave out points that lie closer than this to the outline without them, in pixels.

    Returns:
        Polygons (n, 2) int64 as (x, y), each of at least 3 points: what has fewer is written as its rectangle. None
        for an empty mask.
    """
    if parts not in ("bridge", "split", "largest"):
        raise ValueError(f"`parts` must be 'bridge', 'split' or 'largest', got {parts!r}")
    mask = np.asarray(mask, dtype=bool)
    groups = _parts(_largest_part(mask) if parts == "largest" else mask, "center", tolerance)
    if parts == "bridge" and groups:
        groups = [[ring for group in groups for ring in group]]
    return [joined(group) for group in groups]


def edge_polygons(mask: np.ndarray, tolerance: float = 0.0) -> list[np.ndarray]:
    """One closed polygon (n, 2) on pixel edges per part; bridges to holes have no width there, areas are exact."""
    return [joined(group) for group in _parts(np.asarray(mask, dtype=bool), "edge", tolerance)]


def polygon_fit(mask: np.ndarray, polygons: Sequence[np.ndarray]) -> PolygonFit:
    """How polygons through pixel centres, as `center_polygons` gives them, compare with their mask."""
    filled = fill_polygons(polygons, mask.shape)
    union = int((filled | mask).sum())
    return PolygonFit(
        iou=float((filled & mask).sum() / union) if union else 1.0,
        bridged=int((filled & ~mask).sum()),
        lost=int((mask & ~filled).sum()),
    )


def fill_polygons(polygons: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Polygons of whole numbers as a bool mask (height, width), as `cv2.fillPoly` fills them one after another."""
    filled = np.zeros(size, dtype=bool)
    for polygon in polygons:
        filled |= _inside(polygon, size)
        x, y = _along(polygon)[0].T
        filled[y, x] = True
    return filled


def joined(rings: Sequence[np.ndarray]) -> np.ndarray:
    """One closed polygon (n, 2) int64 that walks all rings, from each to the next over the closest pair of points."""
    if len(rings) == 1:
        return np.asarray(rings[0], dtype=np.int64)
    walked = [_along(np.asarray(ring, dtype=np.int64)) for ring in rings]
    points = [ring for ring, _ in walked]
    kept = [is_corner for _, is_corner in walked]
    order, links = _shortest_links(points)
    for ring, (place, parent, parent_place) in links.items():
        kept[ring][place] = kept[parent][parent_place] = True
    first = order[0]
    detours: dict[int, list[tuple[int, np.ndarray]]] = {ring: [] for ring in order}
    for ring in reversed(order):
        entry, parent, parent_place = links.get(ring, (0, first, 0))
        path = _with_detours(points[ring], kept[ring], entry, detours.pop(ring))
        if ring == first:  # it has no parent
            break
        detours[parent].append((parent_place, path))
    path = path[(path != np.roll(path, 1, axis=0)).any(axis=1)]
    return path if len(path) >= MIN_POINTS else path[[0, 1, 1]]  # a line between two single pixels


def _parts(mask: np.ndarray, convention: Literal["edge", "center"], tolerance: float) -> list[list[np.ndarray]]:
    """Per part its outer ring and those of its holes."""
    groups: list[list[np.ndarray]] = []
    for ring in mask_rings(mask, convention, tolerance):
        points = ring.points.astype(np.int64)
        if ring.hole:
            groups[-1].append(points)
        else:
            groups.append([points if len(points) >= MIN_POINTS else _rectangle(points)])
    return groups


def _rectangle(points: np.ndarray) -> np.ndarray:
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def _largest_part(mask: np.ndarray) -> np.ndarray:
    labelled = numbered_parts(mask)
    sizes = np.bincount(labelled.ravel())
    sizes[0] = 0
    return (labelled == sizes.argmax()) & mask


def _shortest_links(rings: list[np.ndarray]) -> tuple[list[int], dict[int, tuple[int, int, int]]]:
    """A shortest tree over rings: their order from the first, and per ring its point, its parent, the parent's point.

    The next ring is always the one closest to those already linked, so a bridge never crosses a third ring.
    """
    from scipy.spatial import cKDTree

    points = np.concatenate(rings)
    owner = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    place = np.concatenate([np.arange(len(ring)) for ring in rings])
    distance = np.full(len(points), np.inf)
    closest = np.zeros((len(points), 2), dtype=np.int64)  # ring and place
    order, links = [0], {}
    waiting = np.flatnonzero(owner != 0)
    while len(waiting):
        newest = order[-1]
        away, index = cKDTree(rings[newest]).query(points[waiting])
        closer = away < distance[waiting]
        rows = waiting[closer]
        distance[rows] = away[closer]
        closest[rows, 0], closest[rows, 1] = newest, index[closer]
        best = int(waiting[distance[waiting].argmin()])
        ring = int(owner[best])
        links[ring] = (int(place[best]), int(closest[best, 0]), int(closest[best, 1]))
        order.append(ring)
        waiting = waiting[owner[waiting] != ring]
    return order, links


def _with_detours(
    points: np.ndarray, kept: np.ndarray, entry: int, detours: list[tuple[int, np.ndarray]]
) -> np.ndarray:
    """A walk around a ring from its entry and back there, with other walks put in where they branch off."""
    around = np.r_[entry : len(points), 0 : entry + 1]
    by_place: dict[int, list[np.ndarray]] = {}
    for place, path in detours:
        by_place.setdefault(place, []).append(path)
    pieces, first = [], 0
    for position, place in enumerate(around):
        for path in by_place.pop(int(place), []):
            stretch = around[first : position + 1]
            pieces += [points[stretch[kept[stretch]]], path]
            first = position
    stretch = around[first:]
    return np.concatenate([*pieces, points[stretch[kept[stretch]]]])


def _along(polygon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every pixel on a closed polygon (m, 2) in order, and which of them are its corners (m,).

    Lines are OpenCV's: drawn from their left end, with halves rounded to its side.
    """
    start, end = polygon, np.roll(polygon, -1, axis=0)
    is_reversed = start[:, 0] > end[:, 0]
    left, right = np.where(is_reversed[:, None], (end, start), (start, end))
    reach = right - left
    is_steep = np.abs(reach[:, 1]) > np.abs(reach[:, 0])
    length, rise = np.abs(reach).max(axis=1), np.abs(reach).min(axis=1)
    edge, step = _counted(np.maximum(length, 1))  # an edge without length is one pixel
    step = np.where(is_reversed[edge], length[edge] - step, step)
    across = -((length[edge] - 2 * rise[edge] * step) // np.maximum(2 * length[edge], 1))
    steps = np.where(is_steep[edge], (across, step), (step, across)).T
    is_corner = np.diff(edge, prepend=-1) > 0
    return left[edge] + np.sign(reach[edge]) * steps, is_corner


def _inside(polygon: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixels whose centre has an odd number of the polygon's sides on its left."""
    start, end = polygon, np.roll(polygon, -1, axis=0)
    top, bottom = np.where((start[:, 1] > end[:, 1])[:, None], (end, start), (start, end))
    reach = bottom - top
    edge, step = _counted(reach[:, 1])
    columns = top[edge, 0] - (-step * reach[edge, 0]) // reach[edge, 1]  # rounded up
    toggles = np.zeros((size[0], size[1] + 1), dtype=np.uint8)
    np.bitwise_xor.at(toggles, (top[edge, 1] + step, columns), 1)
    return np.bitwise_xor.accumulate(toggles[:, :-1], axis=1).astype(bool)


def _counted(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """0 0 0 1 1 ... and 0 1 2 0 1 ... for counts 3, 2, ..."""
    index = np.repeat(np.arange(len(counts)), counts)
    return index, np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)
