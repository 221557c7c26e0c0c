"""`ImageResult`: what a user holds after a call, with the verbs that show and save it."""

import json
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from sam2_hf.disk.whole import write_whole
from sam2_hf.pipelines import records
from sam2_hf.pipelines.records import NO_CLASS, name_of
from sam2_hf.pipelines.writing import exports, notebook, yolo
from sam2_hf.pipelines.writing.drawing import Palette, Style, overlay
from sam2_hf.processing.bridges import Parts, PolygonFit
from sam2_hf.processing.pixels import to_pixels
from sam2_hf.processing.polygons import Ring
from sam2_hf.processing.prompts import ObjectPrompt
from sam2_hf.processing.rle import Masks


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageResult:
    """Objects of one picture, in parallel sequences of length N.

    Attributes:
        source: path or URL of the picture; None for arrays.
        size: (height, width) of the original picture.
        masks: N masks as run lengths.
        object_ids: what the user called the objects, else 1, 2, ...
        boxes: (N, 4) float32 of the masks, (x0, y0, x1, y1) on pixel edges; an empty mask has zeros.
        iou_scores: (N,) float32, the model's estimate of each mask's IoU, 0 to 1.
        stability: (N,) float32, area of logit > 1 over area of logit > -1.
        object_scores: (N,) float32 logits, above 0 where the object is there.
        det_scores: (N,) float32, 0 to 1, of the detector that gave the boxes; nan where there was none.
        class_ids: (N,) int64, -1 for no class.
        labels: names of the classes, None for no class.
        prompts: what was asked for each object, in original pixels.
        alternatives: per object all candidates of an ambiguous click, best first; empty if one mask was asked for.
        crop_boxes: (N, 4) float32 of the crops in which everything mode found the masks, or None. Not saved.
        logits: (N, low, low) of the masks at low resolution, above 0 inside, or None. Not saved.
        timings: milliseconds of each stage.
        image: the picture itself, for drawing; a tensor is (3, height, width). Not saved.
        why_empty: where everything was asked for and nothing kept, what the candidates fell to; else None. Not saved.
    """

    size: tuple[int, int]
    masks: Masks
    object_ids: tuple[Hashable, ...]
    boxes: np.ndarray
    iou_scores: np.ndarray
    stability: np.ndarray
    object_scores: np.ndarray
    det_scores: np.ndarray | None = None
    class_ids: np.ndarray | None = None
    labels: tuple[str | None, ...] = ()
    source: str | None = None
    prompts: tuple[ObjectPrompt | None, ...] = ()
    alternatives: tuple[Masks, ...] = ()
    crop_boxes: np.ndarray | None = field(default=None, repr=False)
    logits: Tensor | None = field(default=None, repr=False)
    timings: dict[str, float] = field(default_factory=dict)
    image: Any = field(default=None, repr=False)
    why_empty: str | None = None

    def __post_init__(self):
        ids = tuple(key.item() if isinstance(key, np.generic) else key for key in self.object_ids)
        object.__setattr__(self, "object_ids", ids)
        if len(set(ids)) != len(ids):
            raise ValueError(f"`object_ids` are {ids}; every object needs an id of its own")
        count = len(self.masks)
        defaults = {
            "det_scores": np.full(count, np.nan, dtype=np.float32),
            "class_ids": np.full(count, NO_CLASS, dtype=np.int64),
            "labels": (None,) * count,
        }
        for name, value in defaults.items():
            if getattr(self, name) is None or (name == "labels" and not self.labels):
                object.__setattr__(self, name, value)
        lengths = {name: len(getattr(self, name)) for name in self._parallel()}
        wrong = {name: length for name, length in lengths.items() if length != count}
        if wrong:
            raise ValueError(f"a result of {count} masks has {wrong}; every sequence needs one entry per object")

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def areas(self) -> np.ndarray:
        """Pixels of each mask, (N,) int64."""
        return self.masks.areas()

    @property
    def quality(self) -> np.ndarray:
        """(N,) float32: detector score x IoU score x stability, of those that were computed."""
        scores = np.stack([self.det_scores, self.iou_scores, self.stability])
        return np.where(np.isnan(scores), 1.0, scores).prod(axis=0).astype(np.float32)

    def summary(self) -> str:
        """One line: how many objects, of which classes, and how long it took, where that was measured."""
        noun = "object" if len(self) == 1 else "objects"
        named = Counter(label for label in self.labels if label is not None)
        classes = ": " + ", ".join(f"{count} {label}" for label, count in named.items()) if named else ""
        spent = f"; {sum(self.timings.values()):.0f} ms" if self.timings else ""
        return f"{len(self)} {noun}{classes}{spent}"

    def ids(self, label: str) -> np.ndarray:
        """(N,) bool: objects of a class; `result[result.ids("cat")]` holds only those."""
        return np.array([name == label for name in self.labels], dtype=bool)

    def __getitem__(self, index) -> "ImageResult":
        """A result with some of the objects: one number, a slice, numbers, or a bool array of length N."""
        rows = np.arange(len(self))[index]
        rows = [int(rows)] if np.ndim(rows) == 0 else [int(row) for row in rows]
        changes: dict[str, Any] = {"masks": Masks([self.masks.rle[row] for row in rows], self.size)}
        for name in self._parallel():
            values = getattr(self, name)
            is_array = isinstance(values, (np.ndarray, Tensor))
            changes[name] = values[rows] if is_array else tuple(values[row] for row in rows)
        return replace(self, **changes)

    def filter(
        self,
        *,
        min_quality: float = 0.0,
        min_iou: float = 0.0,
        min_area: int = 0,
        labels: str | Sequence[str] | None = None,
        top: int | None = None,
    ) -> "ImageResult":
        """Objects that are good and large enough and of these classes; of them the `top` best by quality, in order."""
        keep = (self.quality >= min_quality) & ~(self.iou_scores < min_iou) & (self.areas >= min_area)
        if labels is not None:
            labels = [labels] if isinstance(labels, str) else labels
            keep &= np.array([label in labels for label in self.labels], dtype=bool)
        rows = np.flatnonzero(keep)
        if top is not None:
            rows = np.sort(rows[np.argsort(-self.quality[rows], kind="stable")[:top]])
        return self[rows]

    def choose(self, index: int, candidate: int) -> "ImageResult":
        """The same result with another candidate of an ambiguous click as the mask of an object.

        The scores of the other candidates are not kept: the object's IoU score and stability are nan, `logits` None.
        """
        if not self.alternatives:
            raise ValueError("there are no candidates to choose from; ask with multimask=True")
        rle = list(self.masks.rle)
        rle[index] = self.alternatives[index].rle[candidate]
        masks = Masks(rle, self.size)
        iou_scores, stability = self.iou_scores.copy(), self.stability.copy()
        iou_scores[index] = stability[index] = np.nan
        scores = {"iou_scores": iou_scores, "stability": stability, "logits": None}
        return replace(self, masks=masks, boxes=masks.boxes(), **scores)

    def _parallel(self) -> list[str]:
        """Names of all fields with one entry per object, but the masks."""
        always = ["object_ids", "boxes", "class_ids", "labels", *exports.SCORES]
        sometimes = [name for name in ("prompts", "alternatives") if getattr(self, name)]
        return [*always, *sometimes, *(name for name in ("logits", "crop_boxes") if getattr(self, name) is not None)]

    def plot(
        self,
        alpha: float = 0.5,
        *,
        masks: bool = True,
        boxes: bool = False,
        points: bool = True,
        labels: bool = True,
        scores: bool = False,
        contours: bool = True,
        palette: Palette | None = None,
        line: int | None = None,
        font=None,
        background=None,
    ) -> Image.Image:
        """The objects over the picture, each in the colour that its id always has.

        Args:
            alpha: opacity of the masks, 0 to 1.
            masks, contours: fill the masks, draw their outlines.
            boxes: draw the masks' boxes.
            points: draw the prompts: points, and the boxes that were given.
            labels, scores: write the class of each object that has one, and its quality.
            palette: colours in turn, or a colour by object id; three numbers each, or names.
            line: width in pixels; default: from the picture's size.
            font: size in pixels, or a font of Pillow.
            background: a colour to draw on instead of the picture.
        """
        style = Style(
            alpha=alpha, masks=masks, boxes=boxes, points=points, labels=labels, scores=scores, contours=contours,
            palette=palette, line=line, font=font, background=background,
        )  # fmt: skip
        return overlay(self, style)

    def _repr_html_(self) -> str:
        """In a notebook: a small overlay, and a table of at most 20 objects. Downloads nothing."""
        return notebook.html_of(self)

    def _repr_png_(self) -> bytes:
        """The small overlay alone, for what shows pictures only."""
        return notebook.png_of(self)

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Writes the overlay (.png .jpg .webp), the record (.json) or dense masks (.npz), as the suffix says.

        Raises:
            OutputExistsError: the file exists and `overwrite` is False.
            ValueError: another suffix.
        """
        path = Path(path)
        return write_whole(path, exports.file_bytes(self, path), overwrite)

    def to_dict(self) -> dict[str, Any]:
        """The neutral record of plain values, schema `sam2_hf.annotation/1`; `from_dict` gives an equal result back."""
        return records.to_record(self)

    def to_json(self) -> str:
        """`to_dict` as one line of text; scores at 6 decimals."""
        return json.dumps(self.to_dict(), allow_nan=False)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "ImageResult":
        """The result that `to_dict` wrote; the picture is read again from `source` when it is drawn."""
        return cls(**records.fields_of(record))

    @classmethod
    def from_json(cls, text: str) -> "ImageResult":
        """The result that `to_json` wrote."""
        return cls.from_dict(json.loads(text))

    # Other forms; see `sam2_hf.pipelines.writing.exports`

    def crops(self, padding: int = 0, background="transparent") -> list[Image.Image]:
        """One RGBA picture per object, cut to its box; background "transparent", "keep" or a colour."""
        return exports.crops(self, padding, background)

    def save_crops(self, folder: str | Path, padding: int = 0, background="transparent", overwrite: bool = False):
        """Writes the crops as `<picture>_<id>_<class>.png`; returns their paths."""
        return exports.save_crops(self, Path(folder), padding, background, overwrite)

    def to_polygons(self, convention: str = "edge", tolerance: float = 0.0) -> list[list[Ring]]:
        """Per object its outlines with holes: on pixel edges (COCO, LabelMe) or through centres (YOLO, OpenCV)."""
        return exports.polygons(self, convention, tolerance)

    def to_coco(
        self, image_id: int = 1, first_id: int = 1, categories: Sequence[dict] | None = None, polygons: bool = False
    ) -> dict:
        """COCO instances with run lengths, which keep holes and parts, or with polygons on pixel edges."""
        return exports.coco(self, image_id, first_id, categories, polygons)

    def to_yolo(self, parts: Parts = "bridge", tolerance: float = 0.0) -> list[str]:
        """Lines of a YOLO segmentation file: holes cut in; parts bridged, split into lines, or only the largest."""
        return yolo.lines(self, parts, tolerance)

    def yolo_fit(self, parts: Parts = "bridge", tolerance: float = 0.0) -> list[PolygonFit]:
        """Per object the IoU that `to_yolo` reaches, and the pixels that its polygons add and lose."""
        return yolo.fits(self, parts, tolerance)

    def save_txt(
        self, path: str | Path, overwrite: bool = False, parts: Parts = "bridge", tolerance: float = 0.0
    ) -> Path:
        """Writes `to_yolo`; a picture without objects gives an empty file, which YOLO reads as background."""
        text = "".join(f"{line}\n" for line in self.to_yolo(parts, tolerance))
        return write_whole(Path(path), text.encode(), overwrite)

    def to_labelme(self, polygons: bool = False) -> dict[str, Any]:
        """A LabelMe file with masks, or with polygons on pixel edges."""
        return exports.labelme(self, polygons)

    def to_png(self, kind: str = "instance") -> list[Image.Image]:
        """Pictures of numbers: one of "instance" ids, one of "semantic" classes, or one per "object"."""
        return exports.index_pictures(self, kind)

    def to_supervision(self):
        """`supervision.Detections`; needs the extra `viz`."""
        return exports.supervision_detections(self)

    def to_dataframe(self):
        """A pandas table, one row per object."""
        return exports.data_frame(self)

    @property
    def file_name(self) -> str:
        """Name of the picture's file, empty for arrays."""
        return name_of(self.source)

    @property
    def stem(self) -> str:
        """What files made of this picture begin with."""
        return Path(self.file_name).stem or "picture"

    def show(self) -> None:
        """Opens the overlay in the system's viewer."""
        self.plot().show()

    def pixels(self) -> np.ndarray:
        """The picture itself, (height, width, 3) uint8, a copy.

        Raises:
            ValueError: the result has neither the picture nor a source to read it from.
        """
        picture = self.image if self.image is not None else self.source
        if picture is None:
            raise ValueError("the picture is not kept in this result; pass `image=` when making it, or a `source`")
        is_normal_form = isinstance(picture, Tensor)
        pixels = to_pixels(picture, data_format="channels_first" if is_normal_form else None)
        if pixels.is_floating_point():
            pixels = (pixels * 255).round().byte()
        return np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy()).copy()
