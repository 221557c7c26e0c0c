"""Masks as lines of a YOLO segmentation file: class, then one polygon in fractions of the picture.

Readers turn the fractions into whole pixels, by cutting or by rounding, and fill with OpenCV; a quarter of a pixel
above the whole number lands on it either way.
"""

from collections.abc import Iterator

import numpy as np

from sam2_hf.processing.bridges import Parts, PolygonFit, center_polygons, polygon_fit

QUARTER = 0.25


def lines(result, parts: Parts = "bridge", tolerance: float = 0.0) -> list[str]:
    """One line per polygon; an object whose mask is empty has none. Classes count from 0, also where none is named."""
    classes = yolo_classes(result)
    return [
        line_of(polygon, classes[row], result.size)
        for row, polygons in enumerate(_polygons(result, parts, tolerance))
        for polygon in polygons
    ]


def fits(result, parts: Parts = "bridge", tolerance: float = 0.0) -> list[PolygonFit]:
    """Per object what a reader of its lines will see."""
    found = _polygons(result, parts, tolerance)
    return [polygon_fit(mask, polygons) for mask, polygons in zip(result.masks, found, strict=True)]


def line_of(polygon: np.ndarray, class_id: int, size: tuple[int, int]) -> str:
    """A polygon (n, 2) of pixel indices as `class x1 y1 x2 y2 ...`."""
    fractions = (polygon + QUARTER) / np.array([size[1], size[0]])
    return " ".join([str(class_id), *(f"{value:.6f}" for value in fractions.ravel())])


def yolo_classes(result) -> list[int]:
    """Class numbers from 0; 0 for all if no object has a class.

    Raises:
        ValueError: some objects have a class and some have none.
    """
    without = [result.object_ids[row] for row in np.flatnonzero(result.class_ids < 0)]
    if without and len(without) < len(result):
        raise ValueError(f"objects {without} have no class but others have; YOLO needs one for each: drop them")
    return [max(int(class_id), 0) for class_id in result.class_ids]


def _polygons(result, parts: Parts, tolerance: float) -> Iterator[list[np.ndarray]]:
    return (center_polygons(mask, parts, tolerance) for mask in result.masks)
