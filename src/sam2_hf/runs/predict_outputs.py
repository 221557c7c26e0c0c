"""What a run over pictures writes: the files of one picture, and those of the whole run."""

import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from sam2_hf.disk.whole import write_json, write_whole
from sam2_hf.pipelines.records import class_numbers
from sam2_hf.pipelines.results import ImageResult
from sam2_hf.pipelines.writing import exports
from sam2_hf.pipelines.writing.contact_sheet import contact_sheet
from sam2_hf.pipelines.writing.fast_png import fast_png
from sam2_hf.runs.predict_settings import PICTURE_FORMATS, SUFFIXES

RESULTS = "results.jsonl"
CONTACT_SHEET = "contact_sheet.jpg"
COCO = "coco.json"
YOLO_CLASSES = "data.yaml"
PROMPTS = "prompts.json"
CROPS = "crops"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOutputs:
    """Files below `folder`.

    Attributes:
        kinds, formats: what to write, of `KINDS` and `FORMATS`.
        polygons: COCO and LabelMe files have polygons instead of masks.
        drawing: options of `ImageResult.plot`.
        max_size: longest side of overlays in pixels; None for that of the picture.
    """

    folder: Path
    kinds: tuple[str, ...]
    formats: tuple[str, ...] = ()
    polygons: bool = False
    drawing: dict
    max_size: int | None = None

    def files(self, name: str) -> dict[str, Path]:
        """Files of one picture, by kind and format; crops have names that depend on what is found."""
        own = {kind: self.folder / f"{name}{SUFFIXES[kind]}" for kind in self.kinds if kind in SUFFIXES}
        for kind in self.formats:
            if kind in PICTURE_FORMATS:
                room, suffix = PICTURE_FORMATS[kind]
                own[kind] = self.folder / room / f"{name}{suffix}"
        return own

    def run_files(self) -> list[Path]:
        """Files of the whole run."""
        wanted = {RESULTS: True, PROMPTS: True, COCO: "coco" in self.formats, YOLO_CLASSES: "yolo" in self.formats}
        wanted |= {CONTACT_SHEET: "overlay" in self.kinds}
        return [self.folder / name for name, is_written in wanted.items() if is_written]

    def planned(self, names: Iterable[str]) -> list[Path]:
        """All files whose names are known, and the folder of crops."""
        files = [*self.run_files(), *(file for name in names for file in self.files(name).values())]
        return [*files, self.folder / CROPS] if CROPS in self.kinds else files

    def write(self, result, name: str) -> list[Path]:
        """Writes the files of one picture, over those of an earlier run; returns them."""
        writers: dict[str, Callable[[Path], object]] = {
            "overlay": lambda path: write_whole(path, fast_png(self.overlay(result)), overwrite=True),
            "json": lambda path: result.save(path, overwrite=True),
            "masks": lambda path: result.save(path, overwrite=True),
            "contours": lambda path: write_json(path, contours(result)),
            "yolo": lambda path: result.save_txt(path, overwrite=True),
            "labelme": lambda path: write_json(path, result.to_labelme(self.polygons)),
            "png": lambda path: _write_picture(path, result.to_png("instance")[0]),
            "semantic": lambda path: _write_picture(path, result.to_png("semantic")[0]),
        }
        files = self.files(name)
        for kind, path in files.items():
            writers[kind](path)
        written = list(files.values())
        if CROPS in self.kinds:
            written += _write_crops(result, self.folder / CROPS, name)
        return written

    def overlay(self, result):
        """The picture with its masks, at most `max_size` wide and high."""
        picture = result.plot(**self.drawing)
        if self.max_size is not None:
            picture.thumbnail((self.max_size, self.max_size))
        return picture

    def finish(self, records: Iterable[dict], classes: tuple[str, ...]) -> None:
        """Writes the files of the whole run from its records, which are read twice."""
        if "coco" in self.formats:
            write_json(self.folder / COCO, coco_of(records, classes, self.polygons))
        if "yolo" in self.formats:
            write_whole(self.folder / YOLO_CLASSES, yolo_data_set(records).encode(), overwrite=True)
        if "overlay" in self.kinds:
            tiles = [(record["key"], self.folder / f"{record['name']}{SUFFIXES['overlay']}") for record in records]
            if len(tiles) > 1:
                _write_picture(self.folder / CONTACT_SHEET, contact_sheet(tiles))


def contours(result) -> dict:
    """Outlines on pixel edges of every object: rings of (x, y), and which of them are holes."""
    objects = []
    for index, rings in enumerate(result.to_polygons()):
        polygons = [{"points": ring.points.tolist(), "hole": ring.hole, "parent": ring.parent} for ring in rings]
        objects.append({"id": result.object_ids[index], "label": result.labels[index], "rings": polygons})
    return {"source": result.source, "size": list(result.size), "objects": objects}


def yolo_data_set(records: Iterable[dict]) -> str:
    """What YOLO tools ask for beside label files: the names of the classes by their numbers."""
    names = {entry["class_id"]: entry["class"] for record in records for entry in record["objects"]}
    named = {number: name for number, name in names.items() if number is not None and number >= 0}
    lines = [f"  {number}: {json.dumps(name)}" for number, name in sorted(named.items())]
    return "\n".join(["path: .", "labels: labels", "names:", *(lines or [f"  0: {exports.UNNAMED}"]), ""])


def coco_of(records: Iterable[dict], classes: tuple[str, ...], polygons: bool = False) -> dict:
    """One COCO data set of all pictures, numbered from 1 in their order.

    Args:
        classes: of the sources, first; those of prompts follow in the order in which they come.
    """
    named = [entry["class"] for record in records for entry in record["objects"]]
    names = [name for name in dict.fromkeys((*classes, *named)) if name is not None]
    has_unnamed = None in named or not names
    listed = [*names, exports.UNNAMED] if has_unnamed and exports.UNNAMED not in names else names
    categories = [{"id": number, "name": name} for number, name in enumerate(listed, start=1)]
    data: dict = {"images": [], "annotations": [], "categories": categories}
    for number, record in enumerate(records, start=1):
        first = len(data["annotations"]) + 1
        result = ImageResult.from_dict(record)
        result = replace(result, class_ids=class_numbers(result.labels, names))
        part = result.to_coco(number, first, categories, polygons)
        data["images"] += [{**image, "file_name": record["key"]} for image in part["images"]]
        data["annotations"] += part["annotations"]
    return data


def _write_crops(result, folder: Path, name: str) -> list[Path]:
    """`<name>_<id>_<label>.png`, which `save_crops` makes of the result's source."""
    parent, _, stem = name.rpartition("/")
    return list(replace(result, source=f"{stem}.png").save_crops(folder / parent, overwrite=True))


def _write_picture(path: Path, picture) -> Path:
    buffer = io.BytesIO()
    picture.save(buffer, format=Image.registered_extensions()[path.suffix])
    return write_whole(path, buffer.getvalue(), overwrite=True)
