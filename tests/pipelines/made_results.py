"""Results for tests, made of masks that are known."""

import numpy as np
from scipy import ndimage

from sam2_hf.pipelines.results import ImageResult
from sam2_hf.pipelines.video import VideoFrameResult
from sam2_hf.processing.rle import Masks
from tests.tiny import scene

HEIGHT, WIDTH = 60, 90


def blob(seed: int, size: tuple[int, int] = (40, 56), blur: float = 2.5) -> np.ndarray:
    """A mask with holes and parts, (height, width) bool."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=size), blur)
    return noise > np.quantile(noise, 0.6)


def shapes(size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """Masks (6, height, width): ring, two parts, nested, one pixel, full, empty."""
    masks = np.zeros((6, *size), bool)
    masks[0, 10:30, 20:50] = True
    masks[0, 15:20, 30:40] = False
    masks[1, 2:9, 3:12] = True
    masks[1, 40:55, 60:88] = True
    masks[2, 5:55, 10:80] = True
    masks[2, 10:50, 20:70] = False
    masks[2, 15:45, 30:60] = True
    masks[2, 20:40, 40:50] = False
    masks[3, -1, -1] = True
    masks[4] = True
    return masks


def made(dense: np.ndarray, kind=ImageResult, **changes):
    """A result of masks (N, height, width) with scores that differ."""
    count, size = len(dense), dense.shape[1:]
    masks = Masks.from_dense(dense, size)
    fields = {
        "size": size,
        "masks": masks,
        "object_ids": tuple(range(1, count + 1)),
        "boxes": masks.boxes(),
        "iou_scores": np.linspace(0.5, 0.9, count, dtype=np.float32),
        "stability": np.ones(count, np.float32),
        "object_scores": np.linspace(-1.234567, 5.5, count, dtype=np.float32),
    }
    if kind is VideoFrameResult:
        fields |= {"is_visible": masks.areas() > 0, "is_prompted": np.zeros(count, bool)}
    return kind(**{**fields, **changes})


def moving(frame: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """Masks (2, height, width) of two boxes that pass over each other; the second is hidden on frame 3."""
    masks = np.zeros((2, *size), bool)
    masks[0, 10:30, 5 + 8 * frame : 35 + 8 * frame] = True
    masks[1, 20:40, 60 - 8 * frame : 80 - 8 * frame] = frame != 3
    return masks


def clip(count: int = 6, object_ids=(1, 2), size: tuple[int, int] = (HEIGHT, WIDTH), **changes):
    """Frames of `moving`; the second object joins on frame 1."""
    for frame in range(count):
        shown = 1 if frame == 0 else 2
        yield made(
            moving(frame, size)[:shown],
            VideoFrameResult,
            object_ids=object_ids[:shown],
            frame=frame,
            time=frame / 10,
            source="videos/walk.mp4",
            image=scene(*size, seed=frame),
            **{name: values[:shown] for name, values in changes.items()},
        )
