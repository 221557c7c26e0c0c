"""`Sam2MaskGenerator`: everything in a picture, from a grid of clicks.

Per crop, in batches of points: decode three candidates each, drop by IoU, resize, drop by stability and at the crop's
sides, keep run lengths. Then suppression inside the crop and between crops.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sam2_hf.modeling.model import Sam2Model
from sam2_hf.modeling.outputs import ImageFeatures, PromptBatch
from sam2_hf.modeling.prompt_groups import MASK_PROMPT_CLAMP
from sam2_hf.pipelines.candidate_counts import CandidateCounts, NothingFoundWarning
from sam2_hf.pipelines.generator_options import GeneratorOptions, chosen_options
from sam2_hf.pipelines.results import ImageResult
from sam2_hf.pipelines.signatures import takes_arguments_of
from sam2_hf.processing.candidates import clean_mask, ends_at_crop, inclusive_boxes, is_stable
from sam2_hf.processing.crops import Crop, crops_of, layer_grids
from sam2_hf.processing.masks import resize_logits, stability_scores
from sam2_hf.processing.pixels import size_of, split_batch, to_pixels
from sam2_hf.processing.processor import Sam2Processor
from sam2_hf.processing.prompts import ObjectPrompt
from sam2_hf.processing.rle import Masks
from sam2_hf.processing.suppression import box_suppression


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _CropOfPicture:
    """A crop to look at.

    Attributes:
        image: the picture as it came.
        pixels: (3, height, width) of the whole picture.
        grid: (n, 2) clicks in fractions of the crop.
        number, count: which of the picture's crops it is, of how many.
    """

    image: object
    pixels: Tensor
    crop: Crop
    grid: Tensor
    number: int
    count: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the picture."""
        return size_of(self.pixels)

    @property
    def cut(self) -> Tensor:
        """Pixels of the crop."""
        x0, y0, x1, y1 = self.crop.box
        return self.pixels[:, y0:y1, x0:x1]


def _options(processor, options: GeneratorOptions | None, fields: dict) -> GeneratorOptions:
    if options is None:
        return chosen_options(processor, fields)
    if fields:
        raise TypeError(f"`options` says everything; leave out `{next(iter(fields))}`, or use dataclasses.replace")
    return options


class Sam2MaskGenerator:
    """Finds everything in pictures.

    ```python
    generator = Sam2MaskGenerator(model, processor, points_per_side=32)
    result = generator(image)  # ImageResult; a list of pictures gives a list
    ```

    Args:
        model, processor: of the same size.
        progress: called with (crops done, all crops) of the picture at hand.
        options: `GeneratorOptions`, or its fields by name; thresholds that are left out are those that the processor's
            `mask_generation` recommends, or the original's. A whole `GeneratorOptions` is taken as it is.
    """

    @takes_arguments_of(GeneratorOptions)
    def __init__(
        self,
        model: Sam2Model,
        processor: Sam2Processor,
        *,
        progress: Callable[[int, int], None] | None = None,
        options: GeneratorOptions | None = None,
        **fields,
    ):
        self.model, self.processor, self.progress = model, processor, progress
        self.options = _options(processor, options, fields)

    def __repr__(self) -> str:
        return f"Sam2MaskGenerator({self.options})"

    def __call__(self, images) -> ImageResult | list[ImageResult]:
        """Everything in a picture, or in each of a list of pictures.

        Returns:
            `ImageResult`; `prompts` holds the click that found each mask. Boxes are on pixel edges. Nothing found is a
            result of length 0, with a `NothingFoundWarning` that says which threshold all candidates fell to.
        """
        is_batch = isinstance(images, (list, tuple)) or getattr(images, "ndim", 3) == 4
        results = list(self.results(split_batch(images) if is_batch else [images]))
        for number, result in enumerate(results):
            if result.why_empty is not None:
                where = f"picture {number}: " if is_batch else ""
                warnings.warn(f"{where}nothing was found: {result.why_empty}", NothingFoundWarning, stacklevel=2)
        return results if is_batch else results[0]

    def results(self, images: Iterable) -> Iterator[ImageResult]:
        """Everything in picture after picture, which are read as they are needed.

        No warning is given; `why_empty` of a result without masks says which threshold all candidates fell to.
        """
        work = self._work(images)
        found, counts = [], CandidateCounts(self.options)
        while batch := list(islice(work, self.options.batch_size)):
            for item, features in zip(batch, self._encoded(batch), strict=True):
                found.append(self._crop(features, item, counts))
                if self.progress is not None:
                    self.progress(item.number + 1, item.count)
                if item.number + 1 == item.count:
                    yield self._result(item, found, counts)
                    found, counts = [], CandidateCounts(self.options)

    def _work(self, images: Iterable) -> Iterator["_CropOfPicture"]:
        """The crops of all pictures, one after the other."""
        options = self.options
        grids = options.point_grids or layer_grids(
            options.points_per_side, options.crop_n_layers, options.crop_n_points_downscale_factor
        )
        for image in images:
            pixels = to_pixels(image)
            crops = crops_of(size_of(pixels), options.crop_n_layers, options.crop_overlap_ratio)
            for number, crop in enumerate(crops):
                grid = torch.tensor(np.asarray(grids[crop.layer], dtype=np.float64), dtype=torch.float32)
                yield _CropOfPicture(image=image, pixels=pixels, crop=crop, grid=grid, number=number, count=len(crops))

    @torch.inference_mode()
    def _encoded(self, batch: Sequence["_CropOfPicture"]) -> list[ImageFeatures]:
        """Features of crops, encoded together."""
        inputs = self.processor.image_processor(
            [item.cut for item in batch], input_data_format="channels_first", return_tensors="pt"
        )
        features = self.model.recall(self.model.encode_image(inputs["pixel_values"].to(self.model.execution_device)))
        return [features.of_picture(index) for index in range(len(batch))]

    def _result(self, item: "_CropOfPicture", parts: Sequence["_Found"], counts: CandidateCounts) -> ImageResult:
        """What the crops of a picture found, as a result."""
        found = self._sorted(self._clean(self._between_crops(parts), item.size))
        masks = Masks(found.rle, item.size)
        return ImageResult(
            source=str(item.image) if isinstance(item.image, (str, Path)) else None,
            size=item.size,
            masks=masks,
            object_ids=tuple(range(1, len(found) + 1)),
            boxes=masks.boxes(),
            iou_scores=found.iou.float().cpu().numpy(),
            stability=found.stability.float().cpu().numpy(),
            object_scores=found.object_scores.float().cpu().numpy(),
            prompts=tuple(ObjectPrompt(points=[point], labels=[1], box=[]) for point in found.points.tolist()),
            crop_boxes=found.crop_boxes.float().cpu().numpy(),
            image=item.pixels,
            why_empty=None if len(found) else counts.why_empty(),
        )

    # Crops

    def _between_crops(self, parts: Sequence["_Found"]) -> "_Found":
        """What all crops found, after suppression between them."""
        found = _Found.joined([part for part in parts if len(part)])
        if len(parts) == 1 or not len(found):
            return found
        corners = found.crop_boxes
        areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
        return found.take(box_suppression(found.boxes, 1 / areas, self.options.crop_nms_thresh))  # small crops win

    @torch.inference_mode()
    def _crop(self, features: ImageFeatures, item: "_CropOfPicture", counts: CandidateCounts) -> "_Found":
        """What one crop found, after suppression inside it."""
        batches = item.grid.split(self.options.points_per_batch)
        parts = [part for batch in batches if len(part := self._batch(features, batch, item, counts))]
        found = _Found.joined(parts)
        if not len(found):
            return found
        return found.take(box_suppression(found.boxes, found.iou, self.options.box_nms_thresh))

    # Points

    def _batch(
        self, features: ImageFeatures, points: Tensor, item: "_CropOfPicture", counts: CandidateCounts
    ) -> _Found:
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
        counts.seen(iou, stability_scores(logits, options.mask_threshold, options.stability_score_offset))
        keep = iou > options.pred_iou_thresh if options.pred_iou_thresh > 0 else torch.ones_like(iou, dtype=torch.bool)
        counts.by_iou += int((~keep).sum())
        passed = int(keep.sum())
        if options.stability_score_thresh > 0:  # enlarging cannot raise a logit: these have no stable core
            keep &= logits.flatten(1).amax(dim=1) > options.mask_threshold + options.stability_score_offset
        kept = keep.nonzero()[:, 0]
        counts.by_stability += passed - len(kept)
        parts = [
            self._full_size(logits[part], iou[part], scores[part], points[part.cpu()], item, counts)
            for part in kept.split(options.points_per_batch)
        ]
        return _Found.joined([part for part in parts if len(part)])

    def _decode(self, features: ImageFeatures, points: Tensor, masks: Tensor | None, multimask: bool):
        """Asks the decoder; points are fractions of the crop."""
        device = self.model.execution_device
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
        self,
        logits: Tensor,
        iou: Tensor,
        scores: Tensor,
        points: Tensor,
        item: "_CropOfPicture",
        counts: CandidateCounts,
    ) -> _Found:
        """Candidates at the crop's size: stable ones that the crop has not cut off, as run lengths of the picture."""
        options, crop, size = self.options, item.crop, item.size
        full = resize_logits(logits[:, None], crop.size)[:, 0]
        stability, keep = is_stable(
            full, options.stability_score_thresh, options.mask_threshold, options.stability_score_offset
        )
        masks = full > options.mask_threshold
        x0, y0, x1, y1 = crop.box
        boxes = inclusive_boxes(masks) + torch.tensor([x0, y0, x0, y0], device=masks.device)
        is_cut_off = ends_at_crop(boxes, crop.box, size, options.crop_edge_margin)
        counts.by_stability += int((~keep).sum())
        counts.by_crop += int((keep & is_cut_off).sum())
        keep &= ~is_cut_off
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
