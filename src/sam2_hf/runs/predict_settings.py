"""What is segmented in pictures, and what is written: `PredictSettings`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam2_hf.errors import ConfigError, PromptError, SourceError
from sam2_hf.runs.settings import RunSettings, free

SUFFIXES = {"overlay": ".png", "json": ".json", "masks": ".npz", "contours": ".contours.json"}
KINDS = (*SUFFIXES, "crops")
PICTURE_FORMATS = {"yolo": ("labels", ".txt"), "labelme": ("labelme", ".json")} | {
    "png": ("masks", ".png"),
    "semantic": ("semantic", ".png"),
}
FORMATS = ("coco", *PICTURE_FORMATS)
LEAST_IOU = 0.0
TABLE = ".csv"  # the kind of source that may bring boxes
NO_PROMPT = "no prompt given; pass --point, --box, --mask or --prompts, a list.csv with boxes, or --everything"
OF_PROMPTS = ("normalized", "multimask", "max_hole_area", "max_sprinkle_area")
OF_EVERYTHING = ("points_per_side", "crop_layers", "nms", "min_stability", "min_region_area", "max_det")


@dataclass(frozen=True, kw_only=True)
class PredictSettings(RunSettings):
    """A run over pictures.

    Attributes:
        sources: see `sam2_hf.pipelines.reading.sources.pictures_from`.
        requests: `sam2_hf.processing.prompts.ObjectPrompt` that hold for every picture.
        normalized: their points and boxes are fractions 0..1.
        multimask: keep three candidates per object.
        max_hole_area, max_sprinkle_area: holes to fill and specks to remove, in low-resolution pixels.
        everything: find all objects, without prompts, by a grid of `points_per_side` clicks along each side, again in
            parts of the picture for each of `crop_layers`; `nms`, `min_stability`, `min_region_area` and `max_det`
            decide what is kept (None: as the checkpoint recommends, else the original's 0.7 and 0.95).
        min_iou: least estimated IoU; None: 0, and what the generator has for everything.
        min_area: in pixels.
        recursive: folders with all folders in them.
        start, end, stride: which frames of videos.
        save, formats: files per picture, of `KINDS`, and label files, of `FORMATS`.
        polygons: COCO and LabelMe files have polygons instead of masks.
        alpha, palette, max_size: of overlays; colours as names or `#rrggbb`, longest side in pixels.
        workers: threads that read pictures ahead.
        batch_size, object_batch: pictures encoded and objects asked for at once; fewer when memory runs out.
        seed: of all random numbers.
        show: open every overlay in a window.
    """

    sources: tuple[str, ...]
    requests: tuple[Any, ...] = ()
    normalized: bool = False
    multimask: bool = False
    max_hole_area: float = 0.0
    max_sprinkle_area: float = 0.0
    everything: bool = False
    points_per_side: int = 32
    crop_layers: int = 0
    nms: float | None = None
    min_stability: float | None = None
    min_region_area: float = 0.0
    max_det: int = 300
    min_iou: float | None = None
    min_area: int = 0
    recursive: bool = False
    start: int = 0
    end: int | None = None
    stride: int = 1
    save: tuple[str, ...] = ("overlay", "json")
    formats: tuple[str, ...] = ()
    polygons: bool = False
    alpha: float = 0.5
    palette: tuple[str, ...] | None = None
    max_size: int | None = None
    workers: int = free(2)
    batch_size: int = free(1)
    object_batch: int = free(64)
    seed: int = 0
    show: bool = free(False)

    def __post_init__(self):
        super().__post_init__()
        for name, known in (("save", KINDS), ("formats", FORMATS)):
            unknown = next((entry for entry in getattr(self, name) if entry not in known), None)
            if unknown is not None:
                flag = "--format" if name == "formats" else f"--{name}"
                raise ConfigError(f"{flag} takes {', '.join(known)}, got {unknown!r}")
        if self.end is not None and self.end <= self.start:
            raise ConfigError(f"--end {self.end} must be after --start {self.start}")

    def check_sources(self) -> None:
        """Refuses a picture that is not there, before anything heavy is imported.

        Raises:
            SourceError: a source that is neither here nor a pattern, an address, a data set or the standard input.
        """
        for source in self.sources:
            is_named = source == "-" or "://" in source or source.startswith("hub:") or any(c in source for c in "*?[{")
            if not is_named and not Path(source).exists():
                raise SourceError(
                    f"{source}: no picture found; give a file, a folder, a quoted glob, a list, an address or a video"
                )

    def check_asked(self, has_prompts: bool) -> None:
        """Refuses a run that asks for nothing, before anything heavy is imported.

        Args:
            has_prompts: there are some, which may not have been read yet.

        Raises:
            PromptError: nothing is asked for, and no table among the sources brings boxes.
        """
        brings_boxes = any(source.lower().endswith(TABLE) for source in self.sources)
        if not (self.everything or has_prompts or brings_boxes):
            raise PromptError(NO_PROMPT)

    @property
    def filters(self) -> dict:
        """Arguments of `ImageResult.filter`."""
        how: dict = {"min_iou": LEAST_IOU if self.min_iou is None else self.min_iou, "min_area": self.min_area}
        return how | ({"top": self.max_det} if self.everything else {})

    def options(self) -> dict:
        """Plain values that a run which is gone on with must share; masks by their content."""
        from sam2_hf.runs.prompt_options import plain_requests

        return {"prompts": plain_requests(self.requests), **super().options()}
