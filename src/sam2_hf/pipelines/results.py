"""`ImageResult`: what a user holds after a call, with the verbs that show and save it."""

import io
import json
from collections.abc import Hashable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from sam2_hf.errors import OutputExistsError
from sam2_hf.pipelines.drawing import colour_of, draw_mask, draw_prompt
from sam2_hf.processing.pixels import to_pixels
from sam2_hf.processing.prompts import ObjectPrompt
from sam2_hf.processing.rle import Masks

SCORES = ("iou_scores", "stability", "object_scores")
SCORE_DECIMALS = 6
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


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
        prompts: what was asked for each object, in original pixels.
        alternatives: per object all candidates of an ambiguous click, best first; empty if one mask was asked for.
        timings: milliseconds of each stage.
        image: the picture itself, for drawing; a tensor is (3, height, width). Not saved.
    """

    size: tuple[int, int]
    masks: Masks
    object_ids: tuple[Hashable, ...]
    boxes: np.ndarray
    iou_scores: np.ndarray
    stability: np.ndarray
    object_scores: np.ndarray
    source: str | None = None
    prompts: tuple[ObjectPrompt | None, ...] = ()
    alternatives: tuple[Masks, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)
    image: Any = field(default=None, repr=False)

    def __post_init__(self):
        ids = tuple(key.item() if isinstance(key, np.generic) else key for key in self.object_ids)
        object.__setattr__(self, "object_ids", ids)
        if len(set(ids)) != len(ids):
            raise ValueError(f"`object_ids` are {ids}; every object needs an id of its own")
        count = len(self.masks)
        parallel = {name: len(getattr(self, name)) for name in ("object_ids", "boxes", *SCORES)}
        parallel |= {name: len(getattr(self, name)) for name in ("prompts", "alternatives") if getattr(self, name)}
        wrong = {name: length for name, length in parallel.items() if length != count}
        if wrong:
            raise ValueError(f"a result of {count} masks has {wrong}; every sequence needs one entry per object")

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def areas(self) -> np.ndarray:
        """Pixels of each mask, (N,) int64."""
        return self.masks.areas()

    def summary(self) -> str:
        """One line: how many objects, and how long it took."""
        noun = "object" if len(self) == 1 else "objects"
        return f"{len(self)} {noun}; {sum(self.timings.values()):.0f} ms"

    def plot(self, alpha: float = 0.5, prompts: bool = True) -> Image.Image:
        """The masks, and the prompts that made them, over the picture.

        Args:
            alpha: opacity of the masks, 0 to 1.
            prompts: draw boxes and points too.
        """
        picture = self._pixels()
        for object_id, mask in zip(self.object_ids, self.masks, strict=True):
            draw_mask(picture, mask, colour_of(object_id), alpha)
        drawn = Image.fromarray(picture)
        for object_id, prompt in zip(self.object_ids, self.prompts, strict=False):
            if prompts and prompt is not None:
                draw_prompt(drawn, prompt, colour_of(object_id))
        return drawn

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Writes the overlay (.png .jpg .webp), the record (.json) or dense masks (.npz), as the suffix says.

        Raises:
            OutputExistsError: the file exists and `overwrite` is False.
            ValueError: another suffix.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix in PICTURE_SUFFIXES:
            buffer = io.BytesIO()
            self.plot().save(buffer, format=Image.registered_extensions()[suffix])
            data = buffer.getvalue()
        elif suffix == ".json":
            data = self.to_json().encode()
        elif suffix == ".npz":
            buffer = io.BytesIO()
            np.savez_compressed(buffer, masks=self.masks.dense(), object_ids=np.array(self.object_ids))
            data = buffer.getvalue()
        else:
            known = ", ".join((*PICTURE_SUFFIXES, ".json", ".npz"))
            raise ValueError(f"{path}: cannot save as {suffix or 'a file without suffix'}; use one of {known}")
        return write_whole(path, data, overwrite)

    def to_dict(self) -> dict[str, Any]:
        """A record of plain values; `from_dict` gives an equal result back."""
        objects = []
        for index, object_id in enumerate(self.object_ids):
            scores = {name: round(float(getattr(self, name)[index]), SCORE_DECIMALS) for name in SCORES}
            entry = {"id": object_id, "rle": self.masks.rle[index], "area": int(self.areas[index])}
            entry |= {"box": [float(side) for side in self.boxes[index]], **scores}
            if self.prompts and self.prompts[index] is not None:
                entry["prompt"] = asdict(self.prompts[index])
            if self.alternatives:
                entry["alternatives"] = list(self.alternatives[index].rle)
            objects.append(entry)
        return {"source": self.source, "size": list(self.size), "objects": objects, "timings": self.timings}

    def to_json(self) -> str:
        """`to_dict` as text; scores at 6 decimals."""
        return json.dumps(self.to_dict(), indent=1)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "ImageResult":
        """The result that `to_dict` wrote; the picture is read again from `source` when it is drawn."""
        size, objects = tuple(record["size"]), record["objects"]
        prompts = tuple(ObjectPrompt(**entry["prompt"]) if "prompt" in entry else None for entry in objects)
        alternatives = tuple(Masks(entry["alternatives"], size) for entry in objects if "alternatives" in entry)
        return cls(
            source=record["source"],
            size=size,
            masks=Masks([entry["rle"] for entry in objects], size),
            object_ids=tuple(entry["id"] for entry in objects),
            boxes=np.array([entry["box"] for entry in objects], dtype=np.float32).reshape(-1, 4),
            prompts=prompts,
            alternatives=alternatives,
            timings=record["timings"],
            **{name: np.array([entry[name] for entry in objects], dtype=np.float32) for name in SCORES},
        )

    @classmethod
    def from_json(cls, text: str) -> "ImageResult":
        """The result that `to_json` wrote."""
        return cls.from_dict(json.loads(text))

    def _pixels(self) -> np.ndarray:
        """(height, width, 3) uint8, a copy."""
        picture = self.image if self.image is not None else self.source
        if picture is None:
            raise ValueError("the picture is not kept in this result; pass `image=` when making it, or a `source`")
        is_normal_form = isinstance(picture, Tensor)
        pixels = to_pixels(picture, data_format="channels_first" if is_normal_form else None)
        if pixels.is_floating_point():
            pixels = (pixels * 255).round().byte()
        return np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy()).copy()


def write_whole(path: Path, data: bytes, overwrite: bool) -> Path:
    """Writes a file that has its name only once it is complete."""
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path}: exists already; pass overwrite=True or choose another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path
