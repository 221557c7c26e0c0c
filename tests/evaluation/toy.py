"""Small data sets on disk, made from moving shapes."""

from pathlib import Path

import numpy as np
from PIL import Image

from sam2_hf.processing.id_pictures import davis_palette
from tests.golden.recipe import golden_scene

HEIGHT, WIDTH = 36, 54


def disc(y: float, x: float, radius: float, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def moving_ids(num_frames: int) -> list[np.ndarray]:
    """Object 1 is always there, object 2 vanishes in the middle, object 5 appears on frame 2."""
    frames = []
    for index in range(num_frames):
        ids = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        ids[disc(12, 10 + 2 * index, 7)] = 1
        if index < num_frames // 2:
            ids[disc(27, 30, 6)] = 2
        if index >= 2:
            ids[disc(10, 45, 5)] = 5
        frames.append(ids)
    return frames


def write_palette(folder: Path, frames: list[np.ndarray]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, ids in enumerate(frames):
        image = Image.fromarray(ids)
        if ids.dtype == np.uint8:
            image.putpalette(davis_palette())
        image.save(folder / f"{index:05d}.png")
    return folder


def write_objects(folder: Path, frames: list[np.ndarray], object_ids=(1, 2, 5)) -> Path:
    """The same in the SA-V layout, a file of every object for every frame."""
    for object_id in object_ids:
        own = folder / f"{object_id:03d}"
        own.mkdir(parents=True, exist_ok=True)
        for index, ids in enumerate(frames):
            Image.fromarray((ids == object_id).astype(np.uint8)).save(own / f"{index:05d}.png")
    return folder


def write_pictures(folder: Path, num_frames: int, seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(num_frames):
        Image.fromarray(golden_scene(HEIGHT, WIDTH, index, seed)).save(folder / f"{index:05d}.jpg")
    return folder


def davis_data_set(root: Path, videos: dict[str, list[np.ndarray]]) -> Path:
    for name, frames in videos.items():
        write_pictures(root / "JPEGImages" / name, len(frames))
        write_palette(root / "Annotations" / name, frames)
    return root


def sav_data_set(root: Path, videos: dict[str, list[np.ndarray]]) -> Path:
    for name, frames in videos.items():
        write_pictures(root / "JPEGImages" / name, len(frames))
        write_objects(root / "Annotations" / name, frames)
    return root


def picture_data_set(root: Path, domains: dict[str, int]) -> Path:
    """`<domain>/<n>.png` with `<n>.mask.png`, so many pictures of each domain."""
    for domain, count in domains.items():
        (root / domain).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            Image.fromarray(golden_scene(HEIGHT, WIDTH, index)).save(root / domain / f"{index}.png")
            Image.fromarray(moving_ids(8)[index + 2]).save(root / domain / f"{index}.mask.png")
    return root
