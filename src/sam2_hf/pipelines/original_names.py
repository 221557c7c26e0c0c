"""The original implementation's classes for pictures, by its names, for code that is being moved over.

```python
predictor = SAM2ImagePredictor.from_pretrained("facebook/sam2.1-hiera-tiny")
predictor.set_image(image)
masks, scores, logits = predictor.predict(point_coords=[[500, 375]], point_labels=[1])
records = SAM2AutomaticMaskGenerator.from_pretrained("facebook/sam2.1-hiera-tiny").generate(image)
```

Thin: everything is done by `Sam2Model`, `Sam2Processor` and `Sam2MaskGenerator`, which new code uses directly. For
videos see `Sam2InferenceSession`.
"""

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sam2_hf.checkpoints.loading import load
from sam2_hf.modeling.model import Sam2Model
from sam2_hf.modeling.prompt_groups import MASK_PROMPT_CLAMP
from sam2_hf.pipelines.generator_options import GeneratorOptions
from sam2_hf.pipelines.mask_generation import Sam2MaskGenerator
from sam2_hf.pipelines.signatures import takes_arguments_of
from sam2_hf.processing.processor import Sam2Processor
from sam2_hf.processing.prompts import as_tensor

OutputMode = Literal["binary_mask", "uncompressed_rle", "coco_rle"]


class SAM2ImagePredictor:
    """One picture, encoded once, and any number of prompts.

    Args:
        model, processor: of the same size.
        mask_threshold: a pixel is inside above this logit.
        max_hole_area, max_sprinkle_area: holes to fill and specks to remove, in low-resolution pixels.
    """

    def __init__(
        self,
        model: Sam2Model,
        processor: Sam2Processor | None = None,
        mask_threshold: float = 0.0,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
    ):
        self.model, self.mask_threshold = model, mask_threshold
        self.processor = Sam2Processor.from_config(model.config) if processor is None else processor
        self.cleaning = {"max_hole_area": max_hole_area, "max_sprinkle_area": max_sprinkle_area}
        self.reset_predictor()

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs) -> "SAM2ImagePredictor":
        """A predictor of a model that `sam2_hf.load` knows by name."""
        model, processor, _ = load(model_id)
        return cls(model, processor, **kwargs)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.model.execution_device

    def reset_predictor(self) -> None:
        """Forgets the picture."""
        self._embeddings: list[Tensor] | None = None
        self._sizes: Tensor | None = None

    @torch.inference_mode()
    def set_image(self, image) -> None:
        """Encodes a picture of any kind that the processor reads; an array is (height, width, 3), RGB."""
        inputs = self.processor(images=image, return_tensors="pt")
        pixel_values = inputs["pixel_values"].to(self.device, self.model.dtype)
        self._embeddings = self.model.get_image_embeddings(pixel_values)
        self._sizes = inputs["original_sizes"]

    def get_image_embedding(self) -> Tensor:
        """The stride-16 map (1, channels, height, width), with the no-memory embedding added."""
        return self._encoded()[2]

    @torch.inference_mode()
    def predict(
        self,
        point_coords=None,
        point_labels=None,
        box=None,
        mask_input=None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Masks of one object, or of one per box.

        Args:
            point_coords: (points, 2) as (x, y), or (objects, points, 2), in pixels of the picture.
            point_labels: one level less, 1 inside and 0 outside.
            box: (4,) or (objects, 4) as (x0, y0, x1, y1).
            mask_input: (1, height, width) or (objects, 1, height, width) logits of an earlier call.
            multimask_output: three candidates.
            return_logits: masks as logits.
            normalize_coords: coordinates are pixels; False: they are fractions of width and height.

        Returns:
            masks (masks, height, width) bool or float32, IoU scores (masks,) and low-resolution logits
            (masks, 256, 256), clamped to +-32, as the original hands them out; with several objects an axis of them
            in front.

        Raises:
            RuntimeError: no picture was set.
            PromptError: prompts that cannot be meant.
        """
        embeddings = self._encoded()
        prompts: dict[str, Any] = {
            "input_points": _per_object(point_coords, 2),
            "input_labels": _per_object(point_labels, 1),
            "input_boxes": _per_object(box, 1),
        }
        if mask_input is not None:
            logits = as_tensor(mask_input)
            prompts["input_masks"] = logits.reshape(1, -1, *logits.shape[-2:])
        inputs = self.processor(
            original_sizes=self._sizes, normalized=not normalize_coords, return_tensors="pt", **prompts
        ).to(self.device)
        outputs = self.model(image_embeddings=embeddings, multimask_output=multimask_output, **inputs)
        masks = self.processor.post_process_masks(
            outputs.pred_masks.cpu(), self._sizes, self.mask_threshold, not return_logits, **self.cleaning
        )[0]
        low = outputs.pred_masks[0].float().clamp(-MASK_PROMPT_CLAMP, MASK_PROMPT_CLAMP)
        found = (masks.numpy(), outputs.iou_scores[0].float().cpu().numpy(), low.cpu().numpy())
        return found if len(found[0]) > 1 else tuple(part[0] for part in found)

    def _encoded(self) -> list[Tensor]:
        if self._embeddings is None:
            raise RuntimeError("no picture was set; call set_image(...) before predict(...)")
        return self._embeddings


class SAM2AutomaticMaskGenerator:
    """Everything in a picture, as the original's list of records.

    Args:
        model, processor: of the same size.
        output_mode: form of `segmentation`: "binary_mask", "uncompressed_rle" or "coco_rle".
        options: fields of `GeneratorOptions`.
    """

    @takes_arguments_of(GeneratorOptions)
    def __init__(
        self,
        model: Sam2Model,
        processor: Sam2Processor | None = None,
        *,
        output_mode: OutputMode = "binary_mask",
        **options,
    ):
        if output_mode not in OutputMode.__args__:
            raise ValueError(f"`output_mode` must be one of {', '.join(OutputMode.__args__)}, got {output_mode!r}")
        processor = Sam2Processor.from_config(model.config) if processor is None else processor
        self.generator, self.output_mode = Sam2MaskGenerator(model, processor, **options), output_mode

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs) -> "SAM2AutomaticMaskGenerator":
        """A generator of a model that `sam2_hf.load` knows by name."""
        model, processor, _ = load(model_id)
        return cls(model, processor, **kwargs)

    def generate(self, image) -> list[dict[str, Any]]:
        """Records in the original's order: `segmentation`, `area`, `bbox` and `crop_box` as (x, y, width, height) of
        inclusive edges, `predicted_iou`, `point_coords`, `stability_score`.
        """
        result = self.generator(image)
        return [self._record(result, row) for row in range(len(result))]

    def _record(self, result, row: int) -> dict[str, Any]:
        x0, y0, x1, y1 = (float(side) for side in result.boxes[row])
        left, top, right, bottom = (float(side) for side in result.crop_boxes[row])
        return {
            "segmentation": self._segmentation(result, row),
            "area": int(result.areas[row]),
            "bbox": [x0, y0, x1 - x0 - 1, y1 - y0 - 1],
            "predicted_iou": float(result.iou_scores[row]),
            "point_coords": result.prompts[row].points,
            "stability_score": float(result.stability[row]),
            "crop_box": [left, top, right - left, bottom - top],
        }

    def _segmentation(self, result, row: int):
        if self.output_mode == "coco_rle":
            return result.masks.rle[row]
        mask = result.masks[row]
        if self.output_mode == "binary_mask":
            return mask
        column = mask.flatten(order="F")
        edges = np.flatnonzero(np.diff(column.astype(np.int8))) + 1
        runs = np.diff([0, *edges.tolist(), column.size]).tolist()
        return {"size": list(mask.shape), "counts": [0, *runs] if column[0] else runs}


def _per_object(values, depth: int):
    """`[image][object]...` of one object's values of this depth, or of several objects'; None for nothing."""
    if values is None:
        return None
    tensor = as_tensor(values)
    return tensor[None, None] if tensor.dim() == depth else tensor[None]
