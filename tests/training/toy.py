"""Small data sets on disk for tests of training."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.golden.recipe import golden_scene, golden_scene_ids


def masks_folder(root: Path, count: int, size: tuple[int, int] = (40, 56)) -> Path:
    """`images/` and `masks/` of `count` made-up pictures p0, p1, ..., with ids 1 to 9."""
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(golden_scene(*size, seed=number)).save(root / "images" / f"p{number}.png")
        Image.fromarray(golden_scene_ids(*size, seed=number)).save(root / "masks" / f"p{number}.png")
    return root


def davis_folder(root: Path, clips: int, frames: int = 5, size: tuple[int, int] = (40, 56)) -> Path:
    """DAVIS layout of made-up clips v0, v1, ..."""
    for clip in range(clips):
        for kind in ("JPEGImages", "Annotations"):
            (root / kind / f"v{clip}").mkdir(parents=True, exist_ok=True)
        for frame in range(frames):
            name = f"{frame:05d}"
            Image.fromarray(golden_scene(*size, frame, clip)).save(root / "JPEGImages" / f"v{clip}" / f"{name}.jpg")
            ids = Image.fromarray(golden_scene_ids(*size, frame, clip).astype(np.uint8))
            ids.putpalette(list(range(256)) * 3)
            ids.save(root / "Annotations" / f"v{clip}" / f"{name}.png")
    return root
