"""The training data at training size, small enough to travel: the same folders and names, pictures and masks shrunk.

    python recipes/pack.py DATA OUT --limit-mb 60
    sam2-hf train --config recipes/embedded-gpu.json --root OUT

What it leaves is a data folder like the one it was made from, so that every recipe reads it. Pictures become JPEG,
pictures with alpha WebP; a file that is small already is copied.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from sam2_hf.datasets.formats.masks import MASK_MARK
from sam2_hf.processing.picture_files import read_ids

PARTS = ("photos", "images", "videos", "videos-small", "cutouts", "backgrounds")
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
MANY_IDS = 64  # with more objects than this the nearest pixel must do
MEGABYTE = 1_000_000


def pack(data: Path, out: Path, side: int, quality: int) -> int:
    """Writes the shrunk copy and returns its size in bytes.

    Args:
        data: folder with some of `PARTS`.
        out: made here; must not exist.
        side: longest side of pictures, in pixels.
        quality: of JPEG and WebP.
    """
    if out.exists():
        raise SystemExit(f"{out}: is there already; remove it or choose another folder")
    files = [path for part in PARTS for path in sorted((data / part).rglob("*")) if path.suffix.lower() in PICTURES]
    if not files:
        raise SystemExit(f"{data}: holds none of {', '.join(PARTS)} with pictures in it")
    aside = out.with_name(out.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    total = 0
    for path in files:
        target = aside / path.relative_to(data)
        target.parent.mkdir(parents=True, exist_ok=True)
        is_mask = path.stem.endswith(MASK_MARK) or "Annotations" in path.relative_to(data).parts
        written = _mask(path, target, side) if is_mask else _picture(path, target, side, quality)
        total += written.stat().st_size
    aside.rename(out)
    return total


def _picture(path: Path, target: Path, side: int, quality: int) -> Path:
    with Image.open(path) as picture:
        has_alpha = picture.mode in ("RGBA", "LA", "PA")
        small = picture.convert("RGBA" if has_alpha else "RGB")
    is_small = max(small.size) <= side
    small.thumbnail((side, side), Image.Resampling.BOX, reducing_gap=None)
    target = target.with_suffix(".webp" if has_alpha else ".jpg")
    small.save(target, quality=quality)
    if is_small and path.suffix.lower() in (".jpg", ".webp") and path.stat().st_size <= target.stat().st_size:
        target.unlink()
        target = target.with_suffix(path.suffix)
        shutil.copyfile(path, target)
    return target


def _mask(path: Path, target: Path, side: int) -> Path:
    ids = read_ids(path)
    scale = min(1.0, side / max(ids.shape))
    size = tuple(max(1, round(length * scale)) for length in ids.shape)
    small = shrunk_ids(ids, size)
    Image.fromarray(small.astype(np.uint8 if small.max() < 256 else np.uint16)).save(target, optimize=True)
    return target


def shrunk_ids(ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Ids (height, width) at a smaller size: each pixel gets the id that covers most of it."""
    if ids.shape == size:
        return ids
    values = np.unique(ids)
    if len(values) > MANY_IDS:
        rows, columns = (
            ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, ids.shape, strict=True)
        )
        return ids[rows][:, columns]
    planes = [
        np.asarray(Image.fromarray((ids == value).astype(np.uint8) * 255).resize(size[::-1], Image.Resampling.BOX))
        for value in values
    ]
    return values[np.argmax(planes, axis=0)]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--side", type=int, default=272)
    parser.add_argument("--quality", type=int, default=75)
    parser.add_argument("--limit-mb", type=float, default=60, help="more than this is an error")
    given = parser.parse_args(arguments)
    total = pack(given.data, given.out, given.side, given.quality)
    print(f"{given.out}: {total / MEGABYTE:.1f} MB")
    if total > given.limit_mb * MEGABYTE:
        raise SystemExit(f"that is more than {given.limit_mb:g} MB; lower --side or --quality, or raise --limit-mb")


if __name__ == "__main__":
    main()
