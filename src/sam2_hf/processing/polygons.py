"""Outlines of masks as polygons, with holes and parts, on pixel edges or through pixel centres.

A polygon is right only for the rasteriser of its reader: outlines on *edges* come back exactly through pycocotools,
outlines through *centres* through OpenCV's `fillPoly`, which YOLO's loaders use.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Convention = Literal["edge", "center"]
RIGHT, DOWN, LEFT, UP = range(4)  # directions of unit edges; the inside is on the right of each
STEPS = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
INSIDE = np.array([[0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5], [0.5, -0.5]])  # from an edge's start to its pixel's centre


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """One closed outline.

    Attributes:
        points: (n, 2) float64 as (x, y), the last one joined to the first.
        hole: it bounds a hole.
        parent: of a hole, the index of the ring around it; of an outer ring, None.
    """

    points: np.ndarray
    hole: bool
    parent: int | None = None


def mask_rings(mask: np.ndarray, convention: Convention = "edge", tolerance: float = 0.0) -> list[Ring]:
    """Outlines of a bool mask (height, width): outer rings first, each followed by its holes.

    Pixels that touch at a corner only are separate parts.

    Args:
        convention: "edge": corners of pixels, whole numbers; "center": indices of pixels.
        tolerance: leave out points that lie closer than this to the outline without them, in pixels.
    """
    if convention not in ("edge", "center"):
        raise ValueError(f"`convention` must be 'edge' or 'center', got {convention!r}")
    loops = _loops(np.asarray(mask, dtype=bool))
    outer = [edges for edges in loops if _area(edges[0]) > 0]
    holes = [edges for edges in loops if _area(edges[0]) < 0]
    rings: list[Ring] = []
    homes = [_home(hole, outer) for hole in holes]
    for index, edges in enumerate(outer):
        parent = len(rings)
        rings.append(Ring(points=_shaped(edges, convention, tolerance), hole=False))
        for hole, home in zip(holes, homes, strict=True):
            if home == index:
                rings.append(Ring(points=_shaped(hole, convention, tolerance), hole=True, parent=parent))
    return rings


def _loops(mask: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Closed chains of unit edges around the mask: start points (n, 2) and directions (n,) of each."""
    outgoing = _edges(mask)
    loops = []
    while outgoing:
        start, directions = next(iter(outgoing.items()))
        point, direction = start, directions[-1]
        points, taken = [], []
        while point in outgoing and direction in outgoing[point]:
            points.append(point)
            taken.append(direction)
            outgoing[point].remove(direction)
            if not outgoing[point]:
                del outgoing[point]
            point = (point[0] + STEPS[direction][0], point[1] + STEPS[direction][1])
            direction = _turn(direction, outgoing.get(point, ()))
        loops.append((np.array(points, dtype=np.int64), np.array(taken)))
    return loops


def _turn(direction: int, choices) -> int:
    """Where to go on: at a corner that two pixels share, to the right, which stays on the same pixel."""
    for turn in (1, 0, 3):
        if (direction + turn) % 4 in choices:
            return (direction + turn) % 4
    return -1


def _edges(mask: np.ndarray) -> dict[tuple[int, int], list[int]]:
    """Directed unit edges between inside and outside, by start point."""
    padded = np.pad(mask, 1)
    inside, below = padded[:-1, 1:-1], padded[1:, 1:-1]
    left, right = padded[1:-1, :-1], padded[1:-1, 1:]
    found: dict[tuple[int, int], list[int]] = {}
    for selected, direction, shift in (
        (below & ~inside, RIGHT, (0, 0)),  # a top side runs right
        (right & ~left, UP, (0, 1)),  # a left side runs up
        (inside & ~below, LEFT, (1, 0)),  # a bottom side runs left
        (left & ~right, DOWN, (0, 0)),  # a right side runs down
    ):
        for y, x in np.argwhere(selected).tolist():
            found.setdefault((x + shift[0], y + shift[1]), []).append(direction)
    return found


def _area(points: np.ndarray) -> float:
    """Signed area; positive for outer rings, which run clockwise on the screen."""
    x, y = points[:, 0], points[:, 1]
    return 0.5 * float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


def _home(hole: tuple[np.ndarray, np.ndarray], outer: list[tuple[np.ndarray, np.ndarray]]) -> int:
    """The smallest outer ring around a hole."""
    probe = hole[0][0] + INSIDE[hole[1][0]]  # centre of the mask's pixel beside the hole
    around = [index for index, edges in enumerate(outer) if _contains(edges, probe)]
    return min(around, key=lambda index: _area(outer[index][0]))


def _contains(edges: tuple[np.ndarray, np.ndarray], probe: np.ndarray) -> bool:
    """Whether a ring runs around the centre of a pixel: vertical edges to its right, up against down."""
    points, directions = edges

    def crossed(direction: int, shift: int) -> int:
        here = points[directions == direction]
        return int(np.sum((here[:, 1] + shift + 0.5 == probe[1]) & (here[:, 0] > probe[0])))

    return crossed(DOWN, 0) - crossed(UP, -1) == 1


def _shaped(edges: tuple[np.ndarray, np.ndarray], convention: Convention, tolerance: float) -> np.ndarray:
    points, directions = edges
    if convention == "edge":
        corners = points[directions != np.roll(directions, 1)].astype(np.float64)
    else:
        centres = points + INSIDE[directions] - 0.5
        moved = (centres != np.roll(centres, 1, axis=0)).any(axis=1)
        corners = _without_straight(centres[moved] if moved.any() else centres[:1])
    return _simplified(corners, tolerance) if tolerance > 0 and len(corners) > 3 else corners


def _without_straight(points: np.ndarray) -> np.ndarray:
    """Without points in the middle of straight lines that go on in the same direction."""
    if len(points) < 3:
        return points
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    return points[(before != after).any(axis=1)]


def _simplified(points: np.ndarray, tolerance: float) -> np.ndarray:
    """Douglas and Peucker, on a closed ring: cut at the point farthest from the first."""
    far = int(np.argmax(((points - points[0]) ** 2).sum(axis=1)))
    halves = (
        _douglas_peucker(points[: far + 1], tolerance),
        _douglas_peucker(np.concatenate((points[far:], points[:1])), tolerance),
    )
    ring = np.concatenate((halves[0][:-1], halves[1][:-1]))
    return ring if len(ring) >= 3 else points


def _douglas_peucker(line: np.ndarray, tolerance: float) -> np.ndarray:
    keep, spans = {0, len(line) - 1}, [(0, len(line) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        chord = line[last] - line[first]
        offsets = line[first + 1 : last] - line[first]
        length = np.hypot(*chord)
        cross = np.abs(chord[0] * offsets[:, 1] - chord[1] * offsets[:, 0])
        distance = cross / length if length else np.hypot(offsets[:, 0], offsets[:, 1])
        worst = int(distance.argmax())
        if distance[worst] > tolerance:
            middle = first + 1 + worst
            keep.add(middle)
            spans += [(first, middle), (middle, last)]
    return line[sorted(keep)]
