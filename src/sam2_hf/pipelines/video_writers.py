"""Sinks for frames of a video: each takes one result at a time. Only `CocoJson` keeps what it was given.

A file is complete, and has its final name, once its sink is closed; an interrupted run closes its sinks too.
"""

import csv
import json
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from PIL import Image

from sam2_hf.pipelines.drawing import colour_of
from sam2_hf.pipelines.results import write_whole
from sam2_hf.pipelines.video import VideoFrameResult

DEFAULT_FPS = 25.0
PALETTE_COLOURS = 256
CSV_COLUMNS = ("frame", "time", "object_id", "area", "x0", "y0", "x1", "y1", "iou_score", "object_score", "visible")


class Sink(Protocol):
    """Takes results in the order they are made."""

    def write(self, result: VideoFrameResult) -> None: ...

    def close(self) -> None: ...


class OverlayVideo:
    """Masks over the frames as an H.264 video; odd sides lose their last pixel, as the format wants."""

    def __init__(self, path: Path, fps: float | None):
        self.path = path
        self._fps = fps or DEFAULT_FPS
        self._part = path.with_name(f".{path.stem}.part{path.suffix}")
        self._container = None

    def write(self, result: VideoFrameResult) -> None:
        picture = np.asarray(result.plot())
        height, width = (side // 2 * 2 for side in picture.shape[:2])
        if self._container is None:
            self._open(height, width)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        if self._container is None:
            return
        self._container.mux(self._stream.encode())
        self._container.close()
        self._container = None
        self._part.replace(self.path)

    def _open(self, height: int, width: int) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(self._part), "w", options={"movflags": "faststart"})
        rate = Fraction(self._fps).limit_denominator(1001)
        self._stream = self._container.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "veryfast"})
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"


class DavisPngs:
    """Object numbers as palette PNGs, `00000.png` and so on, 0 for the background."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._numbers: dict = {}
        self._palette = [0, 0, 0] + [value for number in range(1, PALETTE_COLOURS) for value in colour_of(number)]

    def write(self, result: VideoFrameResult) -> None:
        pixels = np.zeros(result.size, dtype=np.uint8)
        for object_id, mask in zip(result.object_ids, result.masks, strict=True):
            pixels[mask] = self._number(object_id)
        image = Image.fromarray(pixels)
        image.putpalette(self._palette)
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f".{result.frame:05d}.part.png"
        image.save(part)
        part.replace(self.folder / f"{result.frame:05d}.png")

    def close(self) -> None:
        names = {number: str(object_id) for object_id, number in self._numbers.items()}
        write_whole(self.folder / "ids.json", json.dumps(names).encode(), overwrite=True)

    def _number(self, object_id) -> int:
        if object_id not in self._numbers:
            taken = set(self._numbers.values())
            is_own = isinstance(object_id, int) and 1 <= object_id < PALETTE_COLOURS and object_id not in taken
            free = next((n for n in range(1, PALETTE_COLOURS) if n not in taken), None)
            if free is None:
                raise ValueError(f"a palette has {PALETTE_COLOURS - 1} object numbers, there are more objects")
            self._numbers[object_id] = object_id if is_own else free
        return self._numbers[object_id]


class Jsonl:
    """One record per frame, written as it happens; the file that a resumed run goes on from.

    Args:
        keep: lines of an earlier part that stay.
    """

    def __init__(self, path: Path, keep: int = 0):
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = path.read_text().splitlines(keepends=True)[:keep] if keep else []
        self._file = path.open("r+" if keep else "w")
        self._file.truncate(len("".join(kept).encode()))
        self._file.seek(0, 2)

    def write(self, result: VideoFrameResult) -> None:
        self._file.write(json.dumps({**result.to_dict(), "timings": {}}) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class CocoJson:
    """All frames as COCO: images, annotations with RLE, score and track id."""

    def __init__(self, path: Path):
        self.path = path
        self._images: list[dict] = []
        self._annotations: list[dict] = []

    def write(self, result: VideoFrameResult) -> None:
        height, width = result.size
        name = f"{result.frame:05d}"
        self._images.append({"id": result.frame, "file_name": name, "height": height, "width": width})
        for index, object_id in enumerate(result.object_ids):
            x0, y0, x1, y1 = (float(side) for side in result.boxes[index])
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": result.frame,
                    "category_id": 1,
                    "track_id": object_id,
                    "segmentation": result.masks.rle[index],
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": int(result.areas[index]),
                    "score": round(float(result.iou_scores[index]), 6),
                    "iscrowd": 0,
                }
            )

    def close(self) -> None:
        categories = [{"id": 1, "name": "object"}]
        whole = {"images": self._images, "annotations": self._annotations, "categories": categories}
        write_whole(self.path, json.dumps(whole).encode(), overwrite=True)


class AreasCsv:
    """One line per frame and object: area, box, scores."""

    def __init__(self, path: Path):
        self.path = path
        self._part = path.with_name(f".{path.name}.part")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._part.open("w", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow(CSV_COLUMNS)

    def write(self, result: VideoFrameResult) -> None:
        areas = result.areas
        for index, object_id in enumerate(result.object_ids):
            scores = (f"{result.iou_scores[index]:.6f}", f"{result.object_scores[index]:.6f}")
            box = [int(side) for side in result.boxes[index]]
            time = "" if np.isnan(result.time) else f"{result.time:.6f}"
            row = (result.frame, time, object_id, areas[index], *box, *scores, result.is_visible[index])
            self._writer.writerow(row)

    def close(self) -> None:
        self._file.close()
        self._part.replace(self.path)
