"""`GeneratorOptions`: how everything in a picture is found, and what a checkpoint recommends for it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sam2_hf.errors import ConfigError
from sam2_hf.processing.candidates import CROP_EDGE_MARGIN
from sam2_hf.processing.crops import CROP_OVERLAP_RATIO

SORT_KEYS = ("score", "area", "predicted_iou")
THRESHOLDS = (  # what a checkpoint may recommend
    "pred_iou_thresh",
    "stability_score_thresh",
    "stability_score_offset",
    "box_nms_thresh",
    "crop_nms_thresh",
)
LIBRARY_NAMES = {"crop_nms_thresh": "crops_nms_thresh", "box_nms_thresh": None}  # where transformers' pipeline differs


@dataclass(frozen=True, kw_only=True)
class GeneratorOptions:
    """How everything in a picture is found; names and defaults are the original's.

    Attributes:
        points_per_side: grid over the picture; or give `point_grids`.
        points_per_batch: clicks per decoder call; no influence on results beyond rounding.
        batch_size: crops, of one picture or several, encoded together; no influence on results beyond rounding.
        pred_iou_thresh: keep masks whose estimated IoU is above this; 0 keeps all.
        stability_score_thresh, stability_score_offset: keep masks of at least this stability; 0 keeps all.
        mask_threshold: a pixel is inside above this logit.
        box_nms_thresh, crop_nms_thresh: box IoU above which the worse mask goes, inside a crop and between crops.
        crop_n_layers, crop_overlap_ratio, crop_n_points_downscale_factor: crops, see `sam2_hf.processing.crops`.
        crop_edge_margin: masks that end so close to a crop's side, in pixels, are dropped.
        min_mask_region_area: smaller parts and holes go, in pixels of the picture.
        use_m2m: draw every candidate once more with itself as the prompt.
        multimask_output: three candidates per click, or one.
        point_grids: per layer (n, 2) fractions (x, y).
        sort_by: "score", the order of the original; "area" or "predicted_iou", falling.
    """

    points_per_side: int | None = 32
    points_per_batch: int = 64
    batch_size: int = 1
    pred_iou_thresh: float = 0.8
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    mask_threshold: float = 0.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = CROP_OVERLAP_RATIO
    crop_n_points_downscale_factor: int = 1
    crop_edge_margin: float = CROP_EDGE_MARGIN
    min_mask_region_area: float = 0
    use_m2m: bool = False
    multimask_output: bool = True
    point_grids: Sequence[np.ndarray] | None = None
    sort_by: str = "score"

    def __post_init__(self):
        if (self.points_per_side is None) == (self.point_grids is None):
            raise ValueError("give exactly one of `points_per_side` and `point_grids`")
        for name in ("points_per_side", "points_per_batch", "batch_size", "crop_n_points_downscale_factor"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"`{name}` is {value}, but it must be at least 1")
        if self.crop_n_layers < 0:
            raise ValueError(f"`crop_n_layers` is {self.crop_n_layers}, but it must not be negative")
        if self.point_grids is not None and len(self.point_grids) <= self.crop_n_layers:
            raise ValueError(f"`point_grids` has {len(self.point_grids)} layers, but {self.crop_n_layers + 1} are used")
        if self.sort_by not in SORT_KEYS:
            raise ValueError(f"`sort_by` must be one of {', '.join(SORT_KEYS)}, got {self.sort_by!r}")


def recommended_thresholds(processor) -> dict[str, float]:
    """What a checkpoint recommends for finding everything; nothing where its processor has no such block.

    Args:
        processor: or its image half.

    Raises:
        ConfigError: the block in the processor's file names something else, or a value that is no number.
    """
    found = getattr(getattr(processor, "image_processor", processor), "mask_generation", None) or {}
    for name, value in found.items():
        if name not in THRESHOLDS:
            raise ConfigError(
                f"`mask_generation` of the processor names {name!r}; thresholds are {', '.join(THRESHOLDS)}"
            )
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ConfigError(f"`mask_generation` of the processor has {name}={value!r}, but it must be a number")
    return dict(found)


def library_thresholds(processor) -> dict[str, float]:
    """The same by the names of transformers' own `mask-generation` pipeline, which suppresses between crops only."""
    named = {LIBRARY_NAMES.get(name, name): value for name, value in recommended_thresholds(processor).items()}
    return {name: value for name, value in named.items() if name is not None}


def chosen_options(processor, given: dict) -> GeneratorOptions:
    """The original's defaults, what the checkpoint recommends, and what was given, which always wins."""
    return GeneratorOptions(**{**recommended_thresholds(processor), **given})
