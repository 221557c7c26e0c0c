"""Taking the names `sam2` and `sam2_video` of the library's Auto classes over. Nothing happens at import."""

from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForMaskGeneration, AutoProcessor
from transformers.models.auto import processing_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from sam2_hf.modeling.configuration import IMAGE_ONLY_MODEL_TYPE, Sam2Config
from sam2_hf.modeling.model import Sam2Model
from sam2_hf.processing.image import Sam2ImageProcessor
from sam2_hf.processing.processor import Sam2Processor

PUBLISHED_PROCESSOR_NAMES = ("Sam2Processor", "Sam2VideoProcessor")


def register_auto_classes() -> None:
    """Makes the Auto classes of transformers resolve SAM 2 checkpoints to the classes of this package.

    `AutoConfig`, `AutoModel`, `AutoModelForMaskGeneration`, `AutoImageProcessor` and `AutoProcessor`, for both
    published model types and for the whole process. Calling it twice does no harm.
    """
    AutoConfig.register(Sam2Config.model_type, Sam2Config, exist_ok=True)
    CONFIG_MAPPING.register(IMAGE_ONLY_MODEL_TYPE, Sam2Config, exist_ok=True)  # one class serves both types
    AutoModel.register(Sam2Config, Sam2Model, exist_ok=True)
    AutoModelForMaskGeneration.register(Sam2Config, Sam2Model, exist_ok=True)
    backends = {"pil": Sam2ImageProcessor, "torchvision": Sam2ImageProcessor}
    AutoImageProcessor.register(Sam2Config, image_processor_classes=backends, exist_ok=True)
    AutoProcessor.register(Sam2Config, Sam2Processor, exist_ok=True)
    _prefer_our_processor()


def _prefer_our_processor() -> None:
    """`AutoProcessor` goes by the class name in the file and knows its own classes first, so its look-up is wrapped."""
    library_lookup = processing_auto.processor_class_from_name
    if getattr(library_lookup, "prefers_sam2_hf", False):
        return

    def lookup(class_name: str):
        return Sam2Processor if class_name in PUBLISHED_PROCESSOR_NAMES else library_lookup(class_name)

    lookup.prefers_sam2_hf = True
    processing_auto.processor_class_from_name = lookup
