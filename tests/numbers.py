"""Comparing the results of two computations: never for equality, because kernels round differently from call to call.

Bit-equal are only weights, and files of ours that were made once (encoded, copied, kept).
"""

import csv
import json
import math
from pathlib import Path

import av
import numpy as np
from PIL import Image
from torch import Tensor

from sam2_hf.processing.rle import decode_rle

ROUNDING = 1e-5  # logits of the tiny models are of the order of 10; rounding alone moves them by 1e-6
CLEARLY = 1e-4  # what a cause must move to count as a difference
FLIPPED = 2e-3  # share of the pixels of a mask that may lie on a threshold
MEASURED = 1e-4  # of scores in records, which have six decimals


def alike(first: Tensor, second: Tensor, tolerance: float = ROUNDING) -> bool:
    """Whether two computations gave the same, but for rounding."""
    return first.shape == second.shape and bool(((first - second).abs() <= tolerance).all())


def differ(first: Tensor, second: Tensor, by: float = CLEARLY) -> bool:
    """Whether something else than rounding made two results different."""
    return bool((first - second).abs().max() > by)


def same_masks(first, second, share: float = FLIPPED) -> bool:
    """Whether bool masks, dense or as `Masks`, are the same but for pixels on a threshold."""
    first, second = (np.asarray(masks.dense() if hasattr(masks, "dense") else masks) for masks in (first, second))
    return first.shape == second.shape and np.count_nonzero(first != second) <= share * first.size


def same_record(first, second, rounding: float = MEASURED) -> bool:
    """Whether two plain records are the same: masks but for pixels on a threshold, numbers but for rounding.

    Whole numbers are areas and edges of boxes, which follow the masks: they may be off by one pixel or a hundredth.
    """
    if isinstance(first, dict) and isinstance(second, dict):
        if {"size", "counts"} <= first.keys():
            return first["size"] == second.get("size") and same_masks(decode_rle(first), decode_rle(second))
        return first.keys() == second.keys() and all(same_record(first[key], second[key], rounding) for key in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(
            same_record(*pair, rounding) for pair in zip(first, second, strict=True)
        )
    if isinstance(first, bool) or not isinstance(first, (int, float)) or not isinstance(second, (int, float)):
        return first == second
    if not math.isfinite(first):
        return first == second
    return abs(first - second) <= (max(1, 0.01 * abs(first)) if isinstance(first, int) else rounding)


def same_picture(first, second, share: float = 0.02) -> bool:
    """Whether two pictures are the same but for pixels around flipped ones: masks, outlines, smoothed edges."""
    first, second = np.asarray(first), np.asarray(second)
    return first.shape == second.shape and bool(np.mean(first != second) <= share)


def same_file(first: Path, second: Path) -> bool:
    """Whether two result files hold the same."""
    kind = first.suffix
    if first.read_bytes() == second.read_bytes():
        return True
    if kind in (".json", ".jsonl"):
        return same_record(*([json.loads(line) for line in _documents(path)] for path in (first, second)))
    if kind == ".csv":
        return same_record(*(_rows(path) for path in (first, second)))
    if kind in (".png", ".jpg"):
        with Image.open(first) as one, Image.open(second) as other:
            return one.mode == other.mode and same_picture(one, other)
    if kind == ".npz":
        with np.load(first) as one, np.load(second) as other:
            return set(one) == set(other) and all(same_masks(one[name], other[name]) for name in one)
    if kind in (".mp4", ".mkv", ".webm", ".gif"):
        return _same_film(first, second)
    return False


def _documents(path: Path) -> list[str]:
    text = path.read_text()
    return text.splitlines() if path.suffix == ".jsonl" else [text]


def _rows(path: Path) -> list[list]:
    def value(cell: str):
        try:
            return float(cell)
        except ValueError:
            return cell

    with path.open(newline="") as file:
        return [[value(cell) for cell in row] for row in csv.reader(file)]


def _same_film(first: Path, second: Path) -> bool:
    """Encoders are free in their bytes, and a flipped pixel spreads over its block: frames are compared on average."""
    frames = []
    for path in (first, second):
        with av.open(str(path)) as container:
            frames.append([frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)])
    one, other = frames
    return len(one) == len(other) and all(np.abs(a - b).mean() <= 1.0 for a, b in zip(one, other, strict=True))
