"""Decoded frames of labelled clips: kept in memory, or in a folder that later runs and other processes read too.

    frames = FramesInMemory(clips, max_side=384)
    frames = FramesOnDisk.open(clips, Path("cache/photos"), max_side=384)    # made once, then mapped into memory
    frames.get(clip_index, frame).masks([1, 2])

A picture file is decoded once for all epochs. On disk everything is raw bytes: pixels as uint8, masks one bit a pixel.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from PIL import Image

from sam2_hf.datasets.clips import LabelledClip
from sam2_hf.errors import SourceError

INDEX, BYTES = "index.json", "frames.bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedFrame:
    """A frame at its training size.

    Attributes:
        pixels: (height, width, 3) uint8.
        packed: object id to its mask, (height, ceil(width / 8)) uint8, eight pixels a byte.
        shares: object id to the share of the picture that it covers, [0, 1].
        packed_void: pixels without truth, packed as a mask; None: all have one.
    """

    pixels: np.ndarray
    packed: dict[int, np.ndarray]
    shares: dict[int, float]
    packed_void: np.ndarray | None

    def masks(self, chosen: list[int]) -> np.ndarray:
        """(objects, height, width) bool."""
        return np.stack([self._unpacked(self.packed[key]) for key in chosen])

    @property
    def void(self) -> np.ndarray | None:
        """(height, width) bool, or None."""
        return None if self.packed_void is None else self._unpacked(self.packed_void)

    def _unpacked(self, packed: np.ndarray) -> np.ndarray:
        return np.unpackbits(packed, axis=-1, count=self.pixels.shape[1]).astype(bool)


class DecodedFrames(Protocol):
    """Gives frames of clips by the clip's place in the list and the frame's number."""

    def get(self, index: int, frame: int) -> DecodedFrame: ...


def decode(clip: LabelledClip, frame: int, max_side: int | None) -> DecodedFrame:
    """Reads a labelled frame, its longest side at most `max_side` pixels."""
    picture, masks, void = clip.frame(frame), clip.masks(frame), clip.void(frame)
    scale = 1.0 if max_side is None else min(1.0, max_side / max(picture.size))
    size = (max(1, round(picture.height * scale)), max(1, round(picture.width * scale)))
    small = {key: resized_mask(mask, size) for key, mask in masks.items()}
    return DecodedFrame(
        pixels=np.array(picture.resize(size[::-1], Image.Resampling.BILINEAR)),
        packed={key: np.packbits(mask, axis=-1) for key, mask in small.items()},
        shares={key: float(mask.mean()) for key, mask in small.items()},
        packed_void=None if void is None else np.packbits(resized_mask(void, size), axis=-1),
    )


def resized_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(height, width) bool at another size; inside where at least half of a pixel is."""
    if mask.shape == tuple(size):
        return mask
    return np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize(size[::-1], Image.Resampling.BOX)) >= 128


class FramesInMemory:
    """Decodes a frame when it is first asked for, and keeps it if it has a limited size.

    Args:
        clips: of one data set.
        max_side: longest side of what is kept; None: decode again every time, at full size.
    """

    def __init__(self, clips: Sequence[LabelledClip], max_side: int | None):
        self.clips, self.max_side = clips, max_side
        self._kept: dict[tuple[int, int], DecodedFrame] = {}

    def get(self, index: int, frame: int) -> DecodedFrame:
        key = (index, frame)
        if key in self._kept:
            return self._kept[key]
        decoded = decode(self.clips[index], frame, self.max_side)
        if self.max_side is not None:
            self._kept[key] = decoded
        return decoded


class FramesOnDisk:
    """Frames in a folder, mapped into memory, so that all workers and processes share one copy.

    Args:
        folder: that `FramesOnDisk.open` has made.
        clips: of which frames are asked for; all of them are in the folder.
    """

    def __init__(self, folder: Path, clips: Sequence[LabelledClip]):
        self.folder, self._names = folder, [clip.name for clip in clips]
        self._index = json.loads((folder / INDEX).read_text())["clips"]
        self._bytes: np.ndarray | None = None

    @classmethod
    def open(cls, clips: Sequence[LabelledClip], folder: Path, max_side: int) -> "FramesOnDisk":
        """Makes the folder if it is not there, or was made from other files or at another size.

        A folder is written under another name first: one that was stopped in the middle is never taken for a whole one,
        and of several processes the first to finish wins.
        """
        wanted = fingerprint(clips, max_side)
        if not _is_current(folder, wanted):
            folder.parent.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.part-", dir=folder.parent))
            try:
                _write(clips, part, max_side, wanted)
                _put_in_place(part, folder, wanted)
            finally:
                shutil.rmtree(part, ignore_errors=True)
        return cls(folder, clips)

    def of(self, clips: Sequence[LabelledClip]) -> "FramesOnDisk":
        """The same folder for some of its clips."""
        return FramesOnDisk(self.folder, clips)

    def get(self, index: int, frame: int) -> DecodedFrame:
        name = self._names[index]
        if name not in self._index or str(frame) not in self._index[name]:
            raise SourceError(f"{self.folder}: holds no frame {frame} of {name}; remove the folder to make it anew")
        entry = self._index[name][str(frame)]
        height, width = entry["size"]
        row = -(-width // 8)
        start, objects = entry["start"] + height * width * 3, entry["objects"]
        planes = self._part(start, (len(objects) + entry["void"], height, row))
        return DecodedFrame(
            pixels=self._part(entry["start"], (height, width, 3)),
            packed={key: planes[place] for place, (key, _) in enumerate(objects)},
            shares={key: share for key, share in objects},
            packed_void=planes[-1] if entry["void"] else None,
        )

    def _part(self, start: int, shape: tuple[int, ...]) -> np.ndarray:
        if self._bytes is None:
            self._bytes = np.memmap(self.folder / BYTES, np.uint8, "r")
        return self._bytes[start : start + int(np.prod(shape))].reshape(shape)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_bytes": None}  # a worker maps the file itself; a map would travel as a copy


def fingerprint(clips: Sequence[LabelledClip], max_side: int) -> str:
    """Changes when a clip is added, a file of one is changed, or the size is another."""
    digest = hashlib.sha256(f"{max_side}".encode())
    for clip in clips:
        digest.update(f"\n{clip.name} {len(clip.labelled_frames)}".encode())
        for path in clip.files:
            found = path.stat()
            digest.update(f" {path.name} {found.st_size} {found.st_mtime_ns}".encode())
    return digest.hexdigest()


def _is_current(folder: Path, wanted: str) -> bool:
    try:
        return json.loads((folder / INDEX).read_text())["fingerprint"] == wanted
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, KeyError):
        return False


def _write(clips: Sequence[LabelledClip], folder: Path, max_side: int, fingerprint: str) -> None:
    index: dict[str, dict] = {}
    with (folder / BYTES).open("wb") as file:
        for clip in clips:
            frames = {frame: decode(clip, frame, max_side) for frame in clip.labelled_frames}
            index[clip.name] = {str(frame): _append(file, decoded) for frame, decoded in frames.items()}
    (folder / INDEX).write_text(json.dumps({"fingerprint": fingerprint, "max_side": max_side, "clips": index}))


def _append(file: BinaryIO, decoded: DecodedFrame) -> dict:
    """Writes a frame at the end and returns where everything of it is."""
    start = file.tell()
    file.write(decoded.pixels.tobytes())
    for packed in decoded.packed.values():
        file.write(packed.tobytes())
    if decoded.packed_void is not None:
        file.write(decoded.packed_void.tobytes())
    return {
        "start": start,
        "size": list(decoded.pixels.shape[:2]),
        "objects": [[key, decoded.shares[key]] for key in decoded.packed],
        "void": decoded.packed_void is not None,
    }


def _put_in_place(part: Path, folder: Path, wanted: str) -> None:
    """Renames a finished folder; an outdated one of that name goes first."""
    if folder.exists() and not _is_current(folder, wanted):
        if not (folder / INDEX).exists():
            raise SourceError(f"{folder}: is there already and was not made by training; choose another cache folder")
        shutil.rmtree(folder)
    try:
        os.replace(part, folder)
    except OSError:
        if not _is_current(folder, wanted):
            raise  # otherwise another process was faster
