"""Where automatic masks look: grids of points, and crops of a picture. Integers and fractions only."""

import math
from dataclasses import dataclass

import numpy as np

CROP_OVERLAP_RATIO = 512 / 1500  # of the shorter side, for two crops a side; halves with every layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """A rectangle of a picture.

    Attributes:
        box: (x0, y0, x1, y1) in pixels of the picture, the right and lower sides exclusive.
        layer: 0 for the whole picture; layer l has 2^l crops a side.
    """

    box: tuple[int, int, int, int]
    layer: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        x0, y0, x1, y1 = self.box
        return y1 - y0, x1 - x0

    @property
    def area(self) -> int:
        return self.size[0] * self.size[1]


def point_grid(points_per_side: int) -> np.ndarray:
    """Centres of a grid's cells as fractions (x, y), row by row: (points_per_side^2, 2) float64."""
    line = (np.arange(points_per_side) + 0.5) / points_per_side
    x, y = np.meshgrid(line, line)
    return np.stack((x.ravel(), y.ravel()), axis=1)


def layer_grids(points_per_side: int, num_layers: int, downscale: int) -> list[np.ndarray]:
    """The grid of every layer of crops; each has `downscale` times fewer points a side than the one before."""
    return [point_grid(max(1, int(points_per_side / downscale**layer))) for layer in range(num_layers + 1)]


def crops_of(size: tuple[int, int], num_layers: int, overlap_ratio: float = CROP_OVERLAP_RATIO) -> list[Crop]:
    """The whole picture, then the crops of every layer, column by column.

    Args:
        size: (height, width) of the picture.
        num_layers: layers beside the whole picture.
        overlap_ratio: see `CROP_OVERLAP_RATIO`.
    """
    height, width = size
    crops = [Crop(box=(0, 0, width, height), layer=0)]
    for layer in range(1, num_layers + 1):
        per_side = 2**layer
        overlap = int(overlap_ratio * min(height, width) * (2 / per_side))
        crop_height, crop_width = (math.ceil((overlap * (per_side - 1) + side) / per_side) for side in (height, width))
        for column in range(per_side):
            for row in range(per_side):
                x0, y0 = (crop_width - overlap) * column, (crop_height - overlap) * row
                box = (x0, y0, min(x0 + crop_width, width), min(y0 + crop_height, height))
                crops.append(Crop(box=box, layer=layer))
    return crops
