"""Segment Anything 2 the Hugging Face way: pictures and videos, `from_pretrained`, exact masks.

The names below load on first use, so that importing the package costs next to nothing beside transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING

_HOME = {
    "EMBEDDED_CHECKPOINT": "sam2_hf.assets",
    "GeneratorOptions": "sam2_hf.pipelines.generator_options",
    "Sam2Config": "sam2_hf.modeling.configuration",
    "FrameMasks": "sam2_hf.tracking.records",
    "ImageResult": "sam2_hf.pipelines.results",
    "Sam2ImageProcessor": "sam2_hf.processing.image",
    "Sam2InferenceSession": "sam2_hf.tracking.session",
    "Sam2MaskGenerator": "sam2_hf.pipelines.mask_generation",
    "Sam2Model": "sam2_hf.modeling.model",
    "Sam2Processor": "sam2_hf.processing.processor",
    "Sam2VideoMaskGenerator": "sam2_hf.pipelines.video_generation",
    "Sam2VisionModel": "sam2_hf.modeling.pretrained",
    "TrackingPolicy": "sam2_hf.tracking.policy",
    "VideoFrameResult": "sam2_hf.pipelines.video",
    "load": "sam2_hf.checkpoints.loading",
    "pipeline": "sam2_hf.pipelines.registry",
    "register_auto_classes": "sam2_hf.pipelines.registry",
}

if TYPE_CHECKING:
    from sam2_hf.assets import EMBEDDED_CHECKPOINT
    from sam2_hf.checkpoints.loading import load
    from sam2_hf.modeling.configuration import Sam2Config
    from sam2_hf.modeling.model import Sam2Model
    from sam2_hf.modeling.pretrained import Sam2VisionModel
    from sam2_hf.pipelines.generator_options import GeneratorOptions
    from sam2_hf.pipelines.mask_generation import Sam2MaskGenerator
    from sam2_hf.pipelines.registry import pipeline, register_auto_classes
    from sam2_hf.pipelines.results import ImageResult
    from sam2_hf.pipelines.video import VideoFrameResult
    from sam2_hf.pipelines.video_generation import Sam2VideoMaskGenerator
    from sam2_hf.processing.image import Sam2ImageProcessor
    from sam2_hf.processing.processor import Sam2Processor
    from sam2_hf.tracking.policy import TrackingPolicy
    from sam2_hf.tracking.records import FrameMasks
    from sam2_hf.tracking.session import Sam2InferenceSession

__all__ = [
    "EMBEDDED_CHECKPOINT",
    "FrameMasks",
    "GeneratorOptions",
    "ImageResult",
    "Sam2Config",
    "Sam2ImageProcessor",
    "Sam2InferenceSession",
    "Sam2MaskGenerator",
    "Sam2Model",
    "Sam2Processor",
    "Sam2VideoMaskGenerator",
    "Sam2VisionModel",
    "TrackingPolicy",
    "VideoFrameResult",
    "load",
    "pipeline",
    "register_auto_classes",
]


def __getattr__(name: str):
    if name == "__version__":
        from importlib.metadata import version

        return version("sam2-hf")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
