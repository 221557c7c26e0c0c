"""Pieces of real pictures for composed scenes: objects with soft edges, and pictures to put them on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from sam2_hf.errors import SourceError
from sam2_hf.training.own_sources import Lender

LONGEST_SIDE = 256  # of an object in memory
BACKGROUND_SIDE = 512
SHARES = (0.01, 0.7)  # of its picture that an object covers
TRIES = 50
MOST_OBJECTS = 40  # that a background brings along, the largest ones

Picture = tuple[np.ndarray, np.ndarray]  # (height, width, 3) uint8 and ids (height, width) uint8, 0 where there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Lending:
    """How often which kind of piece is taken, [0, 1].

    Attributes:
        cut_out: an object is a cut-out with alpha, not one cut from a photograph.
        with_objects: the background is a photograph whose own objects stay objects, not a plain background.
    """

    cut_out: float = 0.35
    with_objects: float = 0.65


class Pieces:
    """Objects and backgrounds, read when they are first drawn and kept small.

    Args:
        lenders: pictures and clips with masks.
        cut_outs: RGBA files of one object each; none: all objects are cut from photographs.
        backgrounds: picture files; none: all backgrounds are photographs of the lenders.
        lending: how often which kind.
    """

    def __init__(
        self, lenders: Sequence[Lender], cut_outs: Sequence[Path], backgrounds: Sequence[Path], lending: Lending
    ):
        self._clips = [(lender, index) for lender in lenders for index in range(len(lender.clips))]
        if not self._clips:
            raise SourceError("composed scenes need a `library` of pictures with masks to take objects from")
        self._cut_outs, self._backgrounds, self.lending = list(cut_outs), list(backgrounds), lending
        self._read: dict[Path, Image.Image] = {}

    def object(self, rng: np.random.Generator) -> Image.Image:
        """One object as RGBA, cropped to what is seen of it, its longest side at most `LONGEST_SIDE`."""
        if self._cut_outs and rng.random() < self.lending.cut_out:
            return self._file(self._cut_outs[rng.integers(len(self._cut_outs))], "RGBA", LONGEST_SIDE)
        for _ in range(TRIES):
            frame = self._frame(rng)
            keys = [key for key, share in frame.shares.items() if SHARES[0] <= share <= SHARES[1]]
            if not keys:
                continue
            mask = frame.masks([keys[rng.integers(len(keys))]])[0]
            if _sides_touched(mask) <= 1:
                return cut(frame.pixels, mask)
        raise SourceError(f"of {TRIES} pictures none had an object that is whole and neither tiny nor all of it")

    def background(self, rng: np.random.Generator, side: int) -> Picture:
        """A square window of a picture with the ids of its objects, side x side."""
        if self._backgrounds and rng.random() >= self.lending.with_objects:
            path = self._backgrounds[rng.integers(len(self._backgrounds))]
            pixels = np.asarray(self._file(path, "RGB", BACKGROUND_SIDE))
            return _window(pixels, np.zeros(pixels.shape[:2], np.uint8), side, rng)
        frame = self._frame(rng)
        keys = sorted(frame.shares, key=frame.shares.get, reverse=True)[:MOST_OBJECTS]
        ids = np.zeros(frame.pixels.shape[:2], np.uint8)
        if keys:
            for number, mask in enumerate(frame.masks(keys), 1):
                ids[mask] = number
        return _window(frame.pixels, ids, side, rng)

    def _frame(self, rng: np.random.Generator):
        lender, index = self._clips[rng.integers(len(self._clips))]
        frames = lender.clips[index].labelled_frames
        return lender.frames.get(index, frames[rng.integers(len(frames))])

    def _file(self, path: Path, mode: str, longest: int) -> Image.Image:
        if path not in self._read:
            with Image.open(path) as picture:
                picture = picture.convert(mode)
            picture.thumbnail((longest, longest), Image.Resampling.BOX)
            box = picture.getchannel("A").getbbox() if mode == "RGBA" else None
            self._read[path] = picture.crop(box) if box else picture
        return self._read[path]


def cut(pixels: np.ndarray, mask: np.ndarray) -> Image.Image:
    """An object with a soft edge that lies a little inside its outline, so that it takes no background along."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    outline = Image.fromarray(np.pad(mask[window], 3).astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(1.2))
    soft = np.asarray(outline)[3:-3, 3:-3].astype(np.float32)
    piece = Image.fromarray(np.ascontiguousarray(pixels[window]))
    piece.putalpha(Image.fromarray(np.clip((soft - 110) * 2.2, 0, 255).astype(np.uint8)))
    if max(piece.size) > LONGEST_SIDE:
        piece.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BOX)
    return piece


def _sides_touched(mask: np.ndarray) -> int:
    return sum(bool(side.any()) for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))


def _window(pixels: np.ndarray, ids: np.ndarray, side: int, rng: np.random.Generator) -> Picture:
    """A window of at least six tenths of the shorter side, stretched a little, mirrored or not."""
    height, width = ids.shape
    size = rng.uniform(0.6, 1.0) * min(height, width)
    tall, wide = (int(min(limit, size * rng.uniform(1.0, 1.25))) for limit in (height, width))
    top, left = int(rng.integers(0, height - tall + 1)), int(rng.integers(0, width - wide + 1))
    box = (left, top, left + wide, top + tall)
    picture = Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR, box=box)
    numbers = Image.fromarray(ids).resize((side, side), Image.Resampling.NEAREST, box=box)
    turned = slice(None, None, -1 if rng.random() < 0.5 else 1)
    return np.asarray(picture)[:, turned], np.asarray(numbers)[:, turned]
