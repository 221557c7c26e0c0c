"""Sinks that write the tracks of a video as one text file: JSON lines, COCO, YouTube-VIS, MOT, MOTS, CSV.

All but `Jsonl` keep what they are given on disk and write their file when they are closed, in the order of the frames;
of a frame that comes again only the newer result is in it.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from sam2_hf.disk.tables import cell
from sam2_hf.disk.whole import whole_file
from sam2_hf.pipelines.video import VideoFrameResult
from sam2_hf.pipelines.writing.exports import coco_annotation, coco_categories, finite
from sam2_hf.pipelines.writing.mask_files import ObjectNumbers, write_ids
from sam2_hf.pipelines.writing.missing_frames import MissingFrame
from sam2_hf.pipelines.writing.spool import Spool
from sam2_hf.processing.rle import Masks

CSV_COLUMNS = ("frame", "time", "object_id", "area", "x0", "y0", "x1", "y1", "iou_score", "object_score", "visible")
MOTS_TRACKS = 999  # of one class: a MOTS id is 1000 * class + track
MOTS_CLASS_STEP = 1000
VIDEO_ID = 1


class _TrackFile:
    """Keeps a record per frame on disk; a subclass says what is in it and how the file is made of all of them."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.spool = Spool(self.path.parent)
        self._is_closed = False

    def write(self, result: VideoFrameResult) -> None:
        self.spool.put(result.frame, self._record(result))

    def skip(self, frame: MissingFrame) -> None:
        """A frame that cannot be read is not listed."""

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        try:
            with whole_file(self.path) as file:
                self._write_file(file)
        finally:
            self.spool.close()

    def _record(self, result: VideoFrameResult):
        raise NotImplementedError

    def _write_file(self, file: IO[str]) -> None:
        raise NotImplementedError


class AreasCsv(_TrackFile):
    """One line per frame and object: area, box, scores."""

    def _record(self, result: VideoFrameResult) -> list[list]:
        rows, areas = [], result.areas
        for row, object_id in enumerate(result.object_ids):
            scores = [_decimals(result.iou_scores[row]), _decimals(result.object_scores[row])]
            box = [int(side) for side in result.boxes[row]]
            name = object_id if isinstance(object_id, int) else cell(str(object_id))
            line = [result.frame, _decimals(result.time), name, int(areas[row]), *box, *scores]
            rows.append([*line, bool(result.is_visible[row])])
        return rows

    def _write_file(self, file: IO[str]) -> None:
        writer = csv.writer(file)
        writer.writerow(CSV_COLUMNS)
        for _, rows in self.spool:
            writer.writerows(rows)


class MotTxt(_TrackFile):
    """`frame,id,x,y,w,h,score,class,visibility`: boxes for MOT tools; frames, pixels and classes count from 1.

    Objects without a class have one of their own, after all others. A hidden object has no line. Objects that are not
    called by whole numbers are listed in `<name>.ids.json`.
    """

    def __init__(self, path: str | Path):
        super().__init__(path)
        self.numbers = ObjectNumbers()
        self._classes: set[int] = set()

    def _record(self, result: VideoFrameResult) -> list[list]:
        lines, areas = [], result.areas
        for row, object_id in enumerate(result.object_ids):
            number, class_id = self.numbers[object_id], int(result.class_ids[row])
            if areas[row]:
                self._classes.add(class_id)
                x0, y0, x1, y1 = (int(side) for side in result.boxes[row])
                box = f"{x0 + 1},{y0 + 1},{x1 - x0},{y1 - y0}"
                lines.append([f"{result.frame + 1},{number},{box},{_decimals(result.quality[row])}", class_id])
        return lines

    def _write_file(self, file: IO[str]) -> None:
        for _, lines in self.spool:
            file.writelines(f"{line},{class_number(class_id, self._classes)},1\n" for line, class_id in lines)
        write_ids(self.path.with_suffix(".ids.json"), self.numbers.renamed)


class MotsTxt(_TrackFile):
    """`frame id class_id height width rle`: masks for MOTS tools; frames count from 0, classes from 1.

    `id` is 1000 * class + track. Objects without a class have one of their own, after all others. Masks must not
    overlap there: a pixel belongs to the lowest id. A hidden object has no line. Objects that are not called by whole
    numbers are listed in `<name>.ids.json`.

    Raises:
        ValueError: on writing, a class has more than 999 objects.
    """

    def __init__(self, path: str | Path):
        super().__init__(path)
        self._tracks: dict[int, ObjectNumbers] = {}

    def _record(self, result: VideoFrameResult) -> list[list]:
        found = []
        for row, (object_id, class_id) in enumerate(zip(result.object_ids, result.class_ids.tolist(), strict=True)):
            tracks = self._tracks.setdefault(class_id, ObjectNumbers(MOTS_TRACKS, "class of a MOTS file"))
            found.append((class_id < 0, class_id, tracks[object_id], row))
        lines, free = [], np.ones(result.size, dtype=bool)
        for _, class_id, track, row in sorted(found):
            mask = result.masks[row] & free
            free &= ~mask
            if mask.any():
                lines.append([class_id, track, Masks.from_dense(mask[None], result.size).rle[0]])
        return lines

    def _write_file(self, file: IO[str]) -> None:
        for frame, lines in self.spool:
            for class_id, track, rle in lines:
                number = class_number(class_id, self._tracks)
                name, size = MOTS_CLASS_STEP * number + track, " ".join(map(str, rle["size"]))
                file.write(f"{frame} {name} {number} {size} {rle['counts']}\n")
        renamed = {
            MOTS_CLASS_STEP * class_number(class_id, self._tracks) + track: object_id
            for class_id, tracks in self._tracks.items()
            for track, object_id in tracks.renamed.items()
        }
        write_ids(self.path.with_suffix(".ids.json"), renamed)


def class_number(class_id: int, known: Iterable[int]) -> int:
    """A class counted from 1; -1, no class, comes after all known ones."""
    return class_id + 1 if class_id >= 0 else max(known, default=-1) + 2


class _AnnotationJson(_TrackFile):
    """COCO annotations of each frame, with the number and the class of their object."""

    def __init__(self, path: str | Path):
        super().__init__(path)
        self.numbers = ObjectNumbers()
        self.classes: dict[int, tuple[int, str | None]] = {}  # by object number
        self.video: dict = {}

    def _record(self, result: VideoFrameResult) -> dict:
        height, width = result.size
        self.video = {"id": VIDEO_ID, "name": result.video_stem, "height": height, "width": width}
        annotations = []
        for row, object_id in enumerate(result.object_ids):
            number = self.numbers[object_id]
            self.classes[number] = (int(result.class_ids[row]), result.labels[row])
            annotation = {"track_id": number, **coco_annotation(result, row)}
            annotation["attributes"]["visible"] = bool(result.is_visible[row])
            annotations.append(annotation)
        return {"file_name": result.file_name, "time": finite(result.time), "annotations": annotations}

    def _categories(self) -> tuple[list[dict], dict[int, int]]:
        """All categories, and that of each object number."""
        categories, unnamed = coco_categories(self.classes.values())
        return categories, {
            key: class_id + 1 if class_id >= 0 else unnamed for key, (class_id, _) in self.classes.items()
        }


class CocoJson(_AnnotationJson):
    """All frames as COCO: images whose id is the frame number, annotations with run lengths, score and track id.

    An object that is listed and hidden has an annotation with an empty mask.
    """

    def _write_file(self, file: IO[str]) -> None:
        categories, category_of = self._categories()
        videos = [self.video] if self.video else []
        file.write(f'{{"videos": {json.dumps(videos)}, "categories": {json.dumps(categories)}, "images": ')
        file.writelines(_json_array(self._image(frame, record) for frame, record in self.spool))
        file.write(', "annotations": ')
        file.writelines(_json_array(self._annotations(category_of)))
        file.write("}\n")

    def _image(self, frame: int, record: dict) -> dict:
        size = {"height": self.video["height"], "width": self.video["width"]}
        place = {"video_id": VIDEO_ID, "frame_id": frame, "time": record["time"]}
        return {"id": frame, "file_name": record["file_name"], **size, **place}

    def _annotations(self, category_of: dict[int, int]) -> Iterator[dict]:
        count = 0
        for frame, record in self.spool:
            for annotation in record["annotations"]:
                count += 1
                numbers = {"id": count, "image_id": frame, "video_id": VIDEO_ID}
                yield {**numbers, "category_id": category_of[annotation["track_id"]], **annotation}


class YtvisJson(_AnnotationJson):
    """YouTube-VIS: per object a list of masks, boxes and areas with one entry per frame, null where it is hidden.

    `score` is the mean quality of the frames that show the object, `scores` that of each frame. An object that is never
    seen has no annotation. A frame that could not be read has an entry too, which is null for every object; the
    video's `skipped` lists the places of such entries.
    """

    def skip(self, frame: MissingFrame) -> None:
        self.spool.put(frame.frame, {"file_name": None, "annotations": []})

    def _write_file(self, file: IO[str]) -> None:
        categories, category_of = self._categories()
        found = [(frame, record["file_name"]) for frame, record in self.spool]
        names = [name or f"{self.video.get('name')}/{frame:05d}.jpg" for frame, name in found]
        facts = {"length": len(names), "file_names": names}
        if skipped := [place for place, (_, name) in enumerate(found) if name is None]:
            facts["skipped"] = skipped
        videos = [{**self.video, **facts}] if self.video else []
        file.write(f'{{"videos": {json.dumps(videos)}, "categories": {json.dumps(categories)}, "annotations": ')
        tracks = (self._track(number, category_of[number]) for number in sorted(self.classes))
        file.writelines(_json_array(track for track in tracks if any(track["areas"])))
        file.write("}\n")

    def _track(self, number: int, category_id: int) -> dict:
        """One object over all frames; its run lengths are the most that is held in memory at a time."""
        shown: list[dict | None] = []
        name = None
        for _, record in self.spool:
            own = next((entry for entry in record["annotations"] if entry["track_id"] == number), None)
            name = name if own is None else own["attributes"]["object_id"]
            shown.append(own if own is not None and own["area"] else None)
        scores = [entry["score"] for entry in shown if entry is not None and entry["score"] is not None]
        keys = {"segmentations": "segmentation", "bboxes": "bbox", "areas": "area", "scores": "score"}
        size = {"height": self.video["height"], "width": self.video["width"], "length": len(shown)}
        return {
            "id": number,
            "video_id": VIDEO_ID,
            "category_id": category_id,
            "iscrowd": 0,
            "score": finite(np.mean(scores)) if scores else None,
            **size,
            **{many: [entry and entry[one] for entry in shown] for many, one in keys.items()},
            "attributes": {"object_id": name},
        }


def _json_array(items: Iterable) -> Iterator[str]:
    """A JSON array piece by piece."""
    yield "["
    for index, item in enumerate(items):
        yield (",\n" if index else "\n") + json.dumps(item, allow_nan=False)
    yield "]"


def _decimals(value: float) -> str:
    return f"{value:.6f}" if np.isfinite(value) else ""
