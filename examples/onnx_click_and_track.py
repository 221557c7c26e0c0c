"""Clicks and tracks with the files of `sam2-hf export` alone: onnxruntime, NumPy and Pillow, no PyTorch.

    sam2-hf export embedded parts
    python examples/onnx_click_and_track.py parts frames/ --point 210,230 --output masks

The first picture of the folder is clicked, the others are tracked; every mask becomes a black and white PNG.
"""

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image


@dataclass
class Remembered:
    """What one object has left behind: frame -> (memory, pointer), for prompted and for tracked frames."""

    prompted: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    tracked: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


class ExportedModel:
    """The four parts, and how the manifest puts them together."""

    def __init__(self, folder: Path):
        self.manifest = json.loads((folder / "manifest.json").read_text())
        self.image, self.bank = self.manifest["image"], self.manifest["memory"]
        self.dtype = np.dtype(self.manifest["dtype"])
        self.parts = {
            name: onnxruntime.InferenceSession(str(folder / part["file"]), providers=["CPUExecutionProvider"])
            for name, part in self.manifest["parts"].items()
        }

    def run(self, part: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs of a part by their names."""
        session = self.parts[part]
        names = [entry.name for entry in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))

    def encode(self, picture: Image.Image) -> dict[str, np.ndarray]:
        """The maps of a picture or frame."""
        side = self.image["size"]
        channels = [
            np.asarray(Image.fromarray(channel).resize((side, side), Image.Resampling.BILINEAR))
            for channel in np.asarray(picture.convert("RGB"), dtype=np.float32).transpose(2, 0, 1) / 255
        ]
        mean, std = (np.array(self.image[name], dtype=np.float32)[:, None, None] for name in ("mean", "std"))
        return self.run("image-encoder", pixel_values=((np.stack(channels) - mean) / std)[None].astype(self.dtype))

    def decode(self, maps: dict, embedding: np.ndarray, points: np.ndarray, labels: np.ndarray) -> dict:
        """All masks of objects, (objects, points, 2) in model pixels and (objects, points) labels."""
        objects, side = len(points), self.image["mask_size"]
        return self.run(
            "decoder",
            embedding=embedding,
            high_res_0=maps["high_res_0"],
            high_res_1=maps["high_res_1"],
            points=points.astype(np.float32),
            labels=labels.astype(np.int64),
            mask_input=np.zeros((objects, 1, side, side), self.dtype),
            has_mask_input=np.zeros(objects, bool),
        )

    def click(self, maps: dict, size: tuple[int, int], points: np.ndarray, labels: np.ndarray) -> "Found":
        """Masks of clicked objects: (objects, points, 2) as (x, y) on a picture of (height, width)."""
        scaled = points * self.image["size"] / np.array([size[1], size[0]])
        embedding = np.repeat(maps["picture_embedding"], len(points), axis=0)
        return Found.of(self.decode(maps, embedding, scaled, labels), candidates=points.shape[1] == 1)

    def remember(self, maps: dict, found: "Found", prompted: bool) -> list[tuple[np.ndarray, np.ndarray]]:
        """What is kept of each object on this frame: its memory and its pointer."""
        memory = self.run(
            "memory-encoder",
            image_embedding=maps["image_embedding"],
            masks=found.logits[:, None],
            object_scores=found.scores,
            is_prompted=np.full(len(found.logits), prompted),
        )["memory"]
        return list(zip(memory, found.pointers, strict=True))

    def track(self, maps: dict, frame: int, objects: list[Remembered]) -> "Found":
        """The objects on a frame that lies behind those they were seen on."""
        conditioned = self.run(
            "memory-attention", image_embedding=maps["image_embedding"], **self._filled_bank(frame, objects)
        )["embedding"]
        nowhere = np.zeros((len(objects), 1, 2))
        not_a_point = np.full((len(objects), 1), self.manifest["labels"]["not_a_point"])
        drawn = self.decode(maps, conditioned, nowhere, not_a_point)
        return Found.of(drawn, candidates=self.manifest["tracking"]["multimask"])

    def _filled_bank(self, frame: int, objects: list[Remembered]) -> dict[str, np.ndarray]:
        bank, grid, count = self.bank, self.image["grid"], len(objects)
        memory = np.zeros((count, bank["maps"], bank["channels"], grid, grid), self.dtype)
        pointers = np.zeros((count, bank["pointers"], self.image["channels"]), self.dtype)
        memory_time, has_memory = np.zeros((count, bank["maps"]), np.int64), np.zeros((count, bank["maps"]), bool)
        pointer_time = np.zeros((count, bank["pointers"]), np.float32)
        has_pointer = np.zeros((count, bank["pointers"]), bool)
        for row, seen in enumerate(objects):
            nearest = sorted(seen.prompted, key=lambda other: abs(frame - other))[: bank["max_prompted"]]
            maps = [(seen.prompted[other][0], 0) for other in nearest]
            held = [(seen.prompted[other][1], frame - other) for other in nearest if other <= frame]
            for behind in range(1, bank["pointer_span"] + 1):
                if frame - behind in seen.tracked:
                    kept, pointer = seen.tracked[frame - behind]
                    held.append((pointer, behind))
                    if behind <= bank["recent"]:
                        maps.append((kept, bank["newest_time"] + 1 - behind))
            for slot, (kept, time) in enumerate(maps):
                memory[row, slot], memory_time[row, slot], has_memory[row, slot] = kept, time, True
            for slot, (pointer, distance) in enumerate(held):
                pointers[row, slot], has_pointer[row, slot] = pointer, True
                pointer_time[row, slot] = distance / bank["pointer_span"]
        return {
            "memory": memory,
            "memory_time": memory_time,
            "has_memory": has_memory,
            "pointers": pointers,
            "pointer_time": pointer_time,
            "has_pointer": has_pointer,
        }


@dataclass
class Found:
    """One mask per object: logits (objects, height, width), scores (objects, 1), pointers (objects, channels)."""

    logits: np.ndarray
    scores: np.ndarray
    pointers: np.ndarray

    @classmethod
    def of(cls, drawn: dict[str, np.ndarray], candidates: bool) -> "Found":
        """The best of the three candidates, or the single mask."""
        rows = np.arange(len(drawn["masks"]))
        best = 1 + drawn["iou_scores"][:, 1:].argmax(axis=1) if candidates else 0 * rows
        # A steadied single mask keeps the pointer of the single one.
        return cls(drawn["masks"][rows, best], drawn["object_scores"], drawn["object_pointers"][rows, best])

    def masks(self, size: tuple[int, int]) -> np.ndarray:
        """Bool masks at the picture's size (height, width); nothing where the object is not there."""
        full = [
            np.asarray(Image.fromarray(one.astype(np.float32)).resize(size[::-1], Image.Resampling.BILINEAR))
            for one in self.logits
        ]
        return (np.stack(full) > 0) & (self.scores > 0)[..., None]


def follow(model: ExportedModel, pictures: list[Path], points: np.ndarray, labels: np.ndarray):
    """Masks (objects, height, width) of every picture; objects are clicked on the first one."""
    objects = [Remembered() for _ in points]
    for frame, path in enumerate(pictures):
        picture = Image.open(path)
        size, maps = (picture.height, picture.width), model.encode(picture)
        found = model.track(maps, frame, objects) if frame else model.click(maps, size, points, labels)
        for seen, kept in zip(objects, model.remember(maps, found, prompted=frame == 0), strict=True):
            (seen.tracked if frame else seen.prompted)[frame] = kept
            seen.tracked.pop(frame - model.bank["pointer_span"], None)
        yield found.masks(size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", type=Path, help="folder that sam2-hf export wrote")
    parser.add_argument("pictures", type=Path, help="folder of frames, in the order of their names")
    parser.add_argument("--point", action="append", required=True, help="x,y inside an object; once per object")
    parser.add_argument("--output", type=Path, default=Path("masks"))
    given = parser.parse_args()
    points = np.array([[[float(part) for part in text.split(",")]] for text in given.point])
    pictures = sorted(path for path in given.pictures.iterdir() if path.suffix.lower() in (".jpg", ".png"))
    given.output.mkdir(parents=True, exist_ok=True)
    masks = follow(ExportedModel(given.parts), pictures, points, np.ones(points.shape[:2]))
    for path, found in zip(pictures, masks, strict=True):
        for number, mask in enumerate(found, start=1):
            Image.fromarray(mask.astype(np.uint8) * 255).save(given.output / f"{path.stem}_{number}.png")


if __name__ == "__main__":
    main()
