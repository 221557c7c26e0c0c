"""`Sam2MaskGenerator`: everything in a picture, from a grid of clicks.

Per crop, in batches of points: decode three candidates each, drop by IoU, resize, drop by stability and at the crop's
sides, keep run lengths. Then suppression inside the crop and between crops.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sam2_hf.modeling.model import Sam2Model
from sam2_hf.modeling.outputs import ImageFeatures, PromptBatch
from sam2_hf.modeling.prompt_groups import MASK_PROMPT_CLAMP
from sam2_hf.pipelines.results import ImageResult
from sam2_hf.processing.candidates import CROP_EDGE_MARGIN, clean_mask, ends_at_crop, inclusive_boxes, is_stable
from sam2_hf.processing.crops import CROP_OVERLAP_RATIO, Crop, crops_of, layer_grids
from sam2_hf.processing.masks import resize_logits
from sam2_hf.processing.pixels import split_batch, to_pixels
from sam2_hf.processing.processor import Sam2Processor
from sam2_hf.processing.prompts import ObjectPrompt
from sam2_hf.processing.rle import Masks
from sam2_hf.processing.suppression import box_suppression

SORT_KEYS = ("score", "area", "predicted_iou")


@dataclass(frozen=True, kw_only=True)
class GeneratorOptions:
    """How everything in a picture is found; names and defaults are the original's.

    Attributes:
        points_per_side: grid over the picture; or give `point_grids`.
        points_per_batch: clicks per decoder call; no influence on results beyond rounding.
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
        for name in ("points_per_side", "points_per_batch", "crop_n_points_downscale_factor"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"`{name}` is {value}, but it must be at least 1")
        if self.crop_n_layers < 0:
            raise ValueError(f"`crop_n_layers` is {self.crop_n_layers}, but it must not be negative")
        if self.point_grids is not None and len(self.point_grids) <= self.crop_n_layers:
            raise ValueError(f"`point_grids` has {len(self.point_grids)} layers, but {self.crop_n_layers + 1} are used")
        if self.sort_by not in SORT_KEYS:
            raise ValueError(f"`sort_by` must be one of {', '.join(SORT_KEYS)}, got {self.sort_by!r}")


@dataclass(frozen=True, kw_only=True)
class _Found:
    """Candidates that are still in the running, in parallel.

    Attributes:
        rle: masks of the whole picture.
        boxes: (n, 4) float32 with inclusive maxima, in the picture.
        iou, stability, object_scores: (n,).
        points: (n, 2) in the picture.
        crop_boxes: (n, 4).
    """

    rle: list[dict]
    boxes: Tensor
    iou: Tensor
    stability: Tensor
    object_scores: Tensor
    points: Tensor
    crop_boxes: Tensor

    def __len__(self) -> int:
        return len(self.rle)

    def take(self, index: Tensor) -> "_Found":
        fields = ("boxes", "iou", "stability", "object_scores", "points", "crop_boxes")
        return _Found(
            rle=[self.rle[i] for i in index.tolist()], **{name: getattr(self, name)[index] for name in fields}
        )

    @classmethod
    def joined(cls, parts: Sequence["_Found"]) -> "_Found":
        if not parts:
            empty = torch.zeros(0)
            four = torch.zeros(0, 4)
            return cls(
                rle=[], boxes=four, iou=empty, stability=empty, object_scores=empty, points=torch.zeros(0, 2),
                crop_boxes=four,
            )  # fmt: skip
        fields = ("boxes", "iou", "stability", "object_scores", "points", "crop_boxes")
        return cls(
            rle=[rle for part in parts for rle in part.rle],
            **{name: torch.cat([getattr(part, name) for part in parts]) for name in fields},
        )


class Sam2MaskGenerator:
    """Finds everything in pictures.

    ```python
    generator = Sam2MaskGenerator(model, processor, points_per_side=32)
    result = generator(image)  # ImageResult; a list of pictures gives a list
    ```

    Args:
        model, processor: of the same size.
        progress: called with (crops done, all crops) of the picture at hand.
        options: fields of `GeneratorOptions`.
    """

    def __init__(
        self,
        model: Sam2Model,
        processor: Sam2Processor,
        *,
        progress: Callable[[int, int], None] | None = None,
        **options,
    ):
        self.model, self.processor, self.progress = model, processor, progress
        self.options = GeneratorOptions(**options)

    @torch.inference_mode()
    def __call__(self, images) -> ImageResult | list[ImageResult]:
        """Everything in a picture, or in each of a list of pictures.

        Returns:
            `ImageResult`; `prompts` holds the click that found each mask, `crop_boxes` the crop. Boxes are on pixel
            edges. Nothing found is a result of length 0.
        """
        if isinstance(images, (list, tuple)) or getattr(images, "ndim", 3) == 4:
            return [self._one(image) for image in split_batch(images)]
        return self._one(images)

    def _one(self, image) -> ImageResult:
        pixels = to_pixels(image)
        size = tuple(pixels.shape[-2:])
        found = self._clean(self._candidates(pixels), size)
        found = self._sorted(found)
        masks = Masks(found.rle, size)
        return ImageResult(
            source=str(image) if isinstance(image, (str, Path)) else None,
            size=size,
            masks=masks,
            object_ids=tuple(range(1, len(found) + 1)),
            boxes=masks.boxes(),
            iou_scores=found.iou.float().cpu().numpy(),
            stability=found.stability.float().cpu().numpy(),
            object_scores=found.object_scores.float().cpu().numpy(),
            prompts=tuple(ObjectPrompt(points=[point], labels=[1], box=[]) for point in found.points.tolist()),
            image=pixels,
        )

    # Crops

    def _candidates(self, pixels: Tensor) -> _Found:
        """What all crops found, after suppression inside and between them."""
        options, size = self.options, tuple(pixels.shape[-2:])
        crops = crops_of(size, options.crop_n_layers, options.crop_overlap_ratio)
        grids = options.point_grids or layer_grids(
            options.points_per_side, options.crop_n_layers, options.crop_n_points_downscale_factor
        )
        parts = []
        for number, crop in enumerate(crops):
            parts.append(self._crop(pixels, crop, np.asarray(grids[crop.layer], dtype=np.float64)))
            if self.progress is not None:
                self.progress(number + 1, len(crops))
        found = _Found.joined([part for part in parts if len(part)])
        if len(crops) > 1 and len(found):
            corners = found.crop_boxes
            areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
            found = found.take(box_suppression(found.boxes, 1 / areas, options.crop_nms_thresh))  # small crops win
        return found

    def _crop(self, pixels: Tensor, crop: Crop, grid: np.ndarray) -> _Found:
        x0, y0, x1, y1 = crop.box
        inputs = self.processor.image_processor(
            pixels[:, y0:y1, x0:x1], input_data_format="channels_first", return_tensors="pt"
        )
        features = self.model.recall(self.model.encode_image(inputs["pixel_values"].to(self.model.device)))
        batches = torch.tensor(grid, dtype=torch.float32).split(self.options.points_per_batch)
        size = tuple(pixels.shape[-2:])
        found = _Found.joined([part for batch in batches if len(part := self._batch(features, batch, crop, size))])
        if not len(found):
            return found
        return found.take(box_suppression(found.boxes, found.iou, self.options.box_nms_thresh))

    # Points

    def _batch(self, features: ImageFeatures, points: Tensor, crop: Crop, size: tuple[int, int]) -> _Found:
        """Masks of one batch of points, (n, 2) fractions of the crop."""
        options = self.options
        prediction = self._decode(features, points, None, options.multimask_output)
        per_point = prediction.mask_logits.shape[1]
        logits, iou = prediction.mask_logits.flatten(0, 1), prediction.iou_scores.flatten()
        scores = prediction.object_score_logits.repeat_interleave(per_point, 0)[:, 0]
        points = points.repeat_interleave(per_point, 0)
        if options.use_m2m:
            refined = self._refine(features, points, logits)
            logits, iou, scores = refined.mask_logits[:, 0], refined.iou_scores[:, 0], refined.object_score_logits[:, 0]
        keep = iou > options.pred_iou_thresh if options.pred_iou_thresh > 0 else torch.ones_like(iou, dtype=torch.bool)
        if options.stability_score_thresh > 0:  # enlarging cannot raise a logit: these have no stable core
            keep &= logits.flatten(1).amax(dim=1) > options.mask_threshold + options.stability_score_offset
        kept = keep.nonzero()[:, 0]
        parts = [
            self._full_size(logits[part], iou[part], scores[part], points[part.cpu()], crop, size)
            for part in kept.split(options.points_per_batch)
        ]
        return _Found.joined([part for part in parts if len(part)])

    def _decode(self, features: ImageFeatures, points: Tensor, masks: Tensor | None, multimask: bool):
        """Asks the decoder; points are fractions of the crop."""
        device = self.model.device
        prompts = PromptBatch(
            points=(points * self.model.config.image_size)[:, None].to(device),
            labels=torch.ones(len(points), 1, dtype=torch.long, device=device),
            mask_logits=masks,
        )
        embeddings = self.model.encode_prompts(prompts, len(points))
        return self.model.decode_masks(features, embeddings, multimask)

    def _refine(self, features: ImageFeatures, points: Tensor, logits: Tensor):
        """Every candidate once more, with itself as the prompt."""
        clamped = logits.clamp(-MASK_PROMPT_CLAMP, MASK_PROMPT_CLAMP)[:, None]
        return self._decode(features, points, clamped, False)

    def _full_size(
        self, logits: Tensor, iou: Tensor, scores: Tensor, points: Tensor, crop: Crop, size: tuple[int, int]
    ) -> _Found:
        """Candidates at the crop's size: stable ones that the crop has not cut off, as run lengths of the picture."""
        options = self.options
        full = resize_logits(logits[:, None], crop.size)[:, 0]
        stability, keep = is_stable(
            full, options.stability_score_thresh, options.mask_threshold, options.stability_score_offset
        )
        masks = full > options.mask_threshold
        x0, y0, x1, y1 = crop.box
        boxes = inclusive_boxes(masks) + torch.tensor([x0, y0, x0, y0], device=masks.device)
        keep &= ~ends_at_crop(boxes, crop.box, size, options.crop_edge_margin)
        index = keep.nonzero()[:, 0]
        dense = np.zeros((len(index), *size), dtype=bool)
        dense[:, y0:y1, x0:x1] = masks[index].cpu().numpy()
        return _Found(
            rle=list(Masks.from_dense(dense, size).rle),
            boxes=boxes[index].float().cpu(),
            iou=iou[index].float().cpu(),
            stability=stability[index].float().cpu(),
            object_scores=scores[index].float().cpu(),
            points=points[index.cpu()] * torch.tensor([x1 - x0, y1 - y0]) + torch.tensor([x0, y0]),
            crop_boxes=torch.tensor(crop.box, dtype=torch.float32).expand(len(index), 4),
        )

    # The whole picture

    def _clean(self, found: _Found, size: tuple[int, int]) -> _Found:
        """Without small parts and holes; masks that were not changed win over those that were."""
        options = self.options
        if not options.min_mask_region_area or not len(found):
            return found
        dense = [clean_mask(mask, options.min_mask_region_area) for mask in Masks(found.rle, size)]
        masks = Masks.from_dense(np.stack(dense), size)
        is_same = torch.tensor([new == old for new, old in zip(masks.rle, found.rle, strict=True)])
        boxes = torch.from_numpy(masks.boxes()) - torch.tensor([0.0, 0.0, 1.0, 1.0])
        cleaned = replace(found, rle=list(masks.rle), boxes=boxes.clamp(min=0))
        threshold = max(options.box_nms_thresh, options.crop_nms_thresh)
        return cleaned.take(box_suppression(boxes, is_same.float(), threshold))

    def _sorted(self, found: _Found) -> _Found:
        if self.options.sort_by == "score" or not len(found):
            return found
        areas = torch.from_numpy(Masks(found.rle, tuple(found.rle[0]["size"])).areas())
        key = areas if self.options.sort_by == "area" else found.iou
        return found.take(key.argsort(descending=True, stable=True))
