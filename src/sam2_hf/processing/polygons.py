"""Outlines of masks as polygons, with holes and parts, on pixel edges or through pixel centres.

A polygon is right only for the rasteriser of its reader: outlines on *edges* come back exactly through pycocotools,
outlines through *centres* through OpenCV's `fillPoly`, which YOLO's loaders use.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from sam2_hf.processing.components import numbered_parts

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
    mask, corner = _cropped(np.asarray(mask, dtype=bool))
    numbered = numbered_parts(mask)
    outer: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    holes: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    for points, directions in _loops(mask):
        column, row = (points[0] + INSIDE[directions[0]] - 0.5).astype(int)  # a pixel of the mask beside the ring
        part = int(numbered[row, column])
        if _area(points) > 0:
            outer[part] = (points + corner, directions)
        else:
            holes.setdefault(part, []).append((points + corner, directions))
    rings: list[Ring] = []
    for part, edges in outer.items():
        parent = len(rings)
        rings.append(Ring(points=_shaped(edges, convention, tolerance), hole=False))
        for hole in holes.get(part, ()):
            rings.append(Ring(points=_shaped(hole, convention, tolerance), hole=True, parent=parent))
    return rings


def count_parts(mask: np.ndarray) -> tuple[int, int]:
    """How many parts and how many holes a bool mask has, by the rule of `mask_rings`: corners do not join parts."""
    inside, _ = _cropped(mask)
    beside, below = inside[:, 1:] & inside[:, :-1], inside[1:] & inside[:-1]
    squares = below[:, 1:] & below[:, :-1]
    pairs = np.count_nonzero(beside) + np.count_nonzero(below)
    parts = int(numbered_parts(inside).max(initial=0))
    return parts, parts - int(np.count_nonzero(inside) - pairs + np.count_nonzero(squares))  # Euler: parts - holes


def _cropped(mask: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """A mask cut to its box, and the column and row of its corner."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return mask[:0, :0], (0, 0)
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], (int(columns[0]), int(rows[0]))


def _loops(mask: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Closed chains of unit edges around the mask: start points (n, 2) and directions (n,) of each."""
    starts, directions = _edges(mask)
    following = _following(starts, directions, mask.shape).tolist()
    is_taken = bytearray(len(starts))
    loops = []
    for first in range(len(starts)):
        chain, edge = [], first
        while not is_taken[edge]:
            is_taken[edge] = True
            chain.append(edge)
            edge = following[edge]
        if chain:
            loops.append((starts[chain], directions[chain]))
    return loops


def _following(starts: np.ndarray, directions: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Index of the edge that goes on from each (n,); at a corner that two pixels share it stays on the same pixel."""
    edge_at = np.full((4, size[0] + 1, size[1] + 1), -1, dtype=np.int32)
    edge_at[directions, starts[:, 1], starts[:, 0]] = np.arange(len(starts))
    x, y = (starts + STEPS[directions]).T
    following = np.full(len(starts), -1)
    for turn in (3, 0, 1):  # left, straight on, and right, which wins where there is a choice
        edges = edge_at[(directions + turn) % 4, y, x]
        following = np.where(edges >= 0, edges, following)
    return following


def _edges(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Directed unit edges between inside and outside: start points (n, 2) and directions (n,)."""
    padded = np.pad(mask, 1)
    inside, below = padded[:-1, 1:-1], padded[1:, 1:-1]
    left, right = padded[1:-1, :-1], padded[1:-1, 1:]
    starts, directions = [], []
    for selected, direction, shift in (
        (below & ~inside, RIGHT, (0, 0)),  # a top side runs right
        (right & ~left, UP, (0, 1)),  # a left side runs up
        (inside & ~below, LEFT, (1, 0)),  # a bottom side runs left
        (left & ~right, DOWN, (0, 0)),  # a right side runs down
    ):
        rows, columns = np.divmod(np.flatnonzero(selected), selected.shape[1])
        found = np.stack((columns, rows), axis=1) + shift
        starts.append(found)
        directions.append(np.full(len(found), direction))
    return np.concatenate(starts), np.concatenate(directions)


def _area(points: np.ndarray) -> float:
    """Signed area; positive for outer rings, which run clockwise on the screen."""
    x, y = points[:, 0], points[:, 1]
    return 0.5 * float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


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
