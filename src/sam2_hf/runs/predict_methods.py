"""How a result of a picture is made: from prompts, or of everything in it."""

from sam2_hf.errors import PromptError
from sam2_hf.pipelines import image
from sam2_hf.pipelines.mask_generation import Sam2MaskGenerator
from sam2_hf.processing.requests import requests_from
from sam2_hf.runs.predict_settings import OF_PROMPTS, PredictSettings


def method_of(settings: PredictSettings, network, processor) -> "FromPrompts | Everything":
    """The way that the settings ask for."""
    if not settings.everything:
        how = {name: getattr(settings, name) for name in OF_PROMPTS}
        return FromPrompts(network, processor, list(settings.requests), how)
    how = {
        "points_per_side": settings.points_per_side,
        "crop_n_layers": settings.crop_layers,
        "min_mask_region_area": settings.min_region_area,
    }
    given = {
        "box_nms_thresh": settings.nms,
        "crop_nms_thresh": settings.nms,
        "stability_score_thresh": settings.min_stability,
        "pred_iou_thresh": settings.min_iou,
    }
    return Everything(network, processor, how | {name: value for name, value in given.items() if value is not None})


class FromPrompts:
    """Segments prompted objects.

    Args:
        requests: that hold for every picture; none where pictures bring boxes of their own.
        options: fields of `SegmentOptions`.
    """

    def __init__(self, network, processor, requests: list, options: dict):
        self.network, self.processor, self.requests, self.options = network, processor, requests, options

    def __call__(self, pictures: list, items: list, object_batch: int) -> list:
        """`ImageResult` of each picture, encoded together.

        Raises:
            PromptError: there is none for a picture, or one that it cannot have.
        """
        requests = [self._requests(item) for item in items]
        options = {**self.options, "object_batch": object_batch}
        return image.segment_batch(self.network, self.processor, pictures, requests, **options)

    def _requests(self, item) -> list:
        if item.boxes:
            pairs = zip(item.boxes, item.labels, strict=True)
            return requests_from(objects=[{"box": list(box), "label": label} for box, label in pairs])
        if not self.requests:
            raise PromptError(f"{item.source}: the list has no box for this picture, and there is no other prompt")
        return self.requests


class Everything:
    """Finds everything, with `Sam2MaskGenerator`.

    Args:
        options: of the generator.
    """

    def __init__(self, network, processor, options: dict):
        self.network, self.processor, self.options = network, processor, options

    def __call__(self, pictures: list, items: list, object_batch: int) -> list:
        """`ImageResult` of each picture, encoded together."""
        how = {**self.options, "points_per_batch": object_batch, "batch_size": len(pictures)}
        return list(Sam2MaskGenerator(self.network, self.processor, **how).results(pictures))
