"""SA-V."""

from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from sam2_hf.datasets.annotation_files import Entry, rle_size, shown
from sam2_hf.datasets.clips import LabelledClip, ObjectFoldersClip
from sam2_hf.datasets.formats.davis import frame_folders
from sam2_hf.datasets.registry import dataset_format
from sam2_hf.errors import ConfigError, SourceError
from sam2_hf.processing.picture_files import natural_order, pictures_in
from sam2_hf.processing.rle import decode_rle
from sam2_hf.processing.video import frames_from

SAV_ANNOTATION_STRIDE = 4  # SA-V annotates every fourth of 24 frames a second
SAV_VARIANTS = ("manual", "auto")


class SavClip(LabelledClip):
    """A video of SA-V train: an mp4 and masklets of COCO run lengths on every fourth frame.

    Frames are the annotated ones; frames with a masklet that is null are left out.
    """

    def __init__(self, path: Path, annotation: Path):
        self.name, self.path, self.annotation = path.stem, path, annotation
        whole = Entry.of_file(annotation)
        masklets = whole.values_of("masklet")
        for number, objects in enumerate(masklets):
            if not isinstance(objects, list):
                raise whole.problem(
                    f"masklet[{number}] is {shown(objects)}, expected a list with a mask of each object"
                )
        self._masklets = [(number, objects) for number, objects in enumerate(masklets) if None not in objects]
        self.labelled_frames = tuple(range(len(self._masklets)))
        self.object_names = {}

    @property
    def num_frames(self) -> int:
        return len(self._masklets)

    @property
    def object_ids(self) -> tuple[int, ...]:
        return tuple(range(1, 1 + max((len(objects) for _, objects in self._masklets), default=0)))

    @cached_property
    def _video(self):
        return frames_from(self.path)

    def frame(self, index: int) -> Image.Image:
        number = self._masklets[index][0] * SAV_ANNOTATION_STRIDE
        if number >= len(self._video):
            raise SourceError(
                f"{self.path}: has {len(self._video)} frames, but {self.annotation.name} annotates {number}"
            )
        pixels = self._video[number]
        return Image.fromarray(pixels.permute(1, 2, 0).numpy())

    def frame_name(self, index: int) -> str:
        return f"{self._masklets[index][0] * SAV_ANNOTATION_STRIDE:05d}"

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path, self.annotation)

    def masks(self, index: int) -> dict[int, np.ndarray]:
        self.check_labelled(index)
        number, objects = self._masklets[index]
        return {key: self._mask(rle, f"masklet[{number}][{key - 1}]") for key, rle in enumerate(objects, 1)}

    def _mask(self, rle, place: str) -> np.ndarray:
        where = Entry({"mask": rle}, f"{self.annotation}: {place}")
        size = rle_size(rle, where)
        if size != self.size:
            raise where.problem(f"the mask is (height, width) {size}, the frames of {self.path.name} are {self.size}")
        try:
            return decode_rle(rle)
        except (ValueError, TypeError, OverflowError) as error:
            raise where.problem(str(error)) from error


@dataset_format("sav")
def open_sav(root: Path, *, variant: str = "manual") -> list[LabelledClip]:
    """SA-V: folders of frames with `Annotations*/<clip>/<object>/*.png`, or `<id>.mp4` with `<id>_manual.json`.

    Args:
        variant: of the JSON files, "manual" or "auto".
    """
    if variant not in SAV_VARIANTS:
        raise ConfigError(f"`variant` must be 'manual' or 'auto', got {variant!r}")
    videos = natural_order(root.rglob("*.mp4"))
    if videos:
        pairs = [(path, path.with_name(f"{path.stem}_{variant}.json")) for path in videos]
        return [SavClip(path, annotation) for path, annotation in pairs if annotation.exists()]
    frames = next((path for path in natural_order(root.glob("JPEGImages*")) if path.is_dir()), None)
    annotations = next((path for path in natural_order(root.glob("Annotations*")) if path.is_dir()), None)
    if frames is None or annotations is None:
        return [ObjectFoldersClip(*clip) for clip in frame_folders(root)]
    return [
        ObjectFoldersClip(folder.name, pictures_in(frames / folder.name), folder)
        for folder in natural_order(path for path in annotations.iterdir() if path.is_dir())
    ]
