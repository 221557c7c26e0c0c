"""`pipeline(...)`, and what is told to transformers: our tasks at import, our classes only when asked."""

from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForMaskGeneration,
    AutoProcessor,
    Pipeline,
)
from transformers import pipeline as library_pipeline
from transformers.models.auto import processing_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.utils import logging

from sam2_hf.checkpoints.loading import load
from sam2_hf.errors import ConfigError
from sam2_hf.modeling.configuration import IMAGE_ONLY_MODEL_TYPE, Sam2Config
from sam2_hf.modeling.model import Sam2Model
from sam2_hf.pipelines.generator_options import library_thresholds
from sam2_hf.pipelines.picture_task import PromptableSegmentationPipeline
from sam2_hf.pipelines.video_task import VideoObjectSegmentationPipeline
from sam2_hf.processing.image import Sam2ImageProcessor
from sam2_hf.processing.processor import Sam2Processor

logger = logging.get_logger(__name__)

PUBLISHED_PROCESSOR_NAMES = ("Sam2Processor", "Sam2VideoProcessor")
OWN_TASKS = {
    "promptable-segmentation": (PromptableSegmentationPipeline, "image"),
    "video-object-segmentation": (VideoObjectSegmentationPipeline, "video"),
}
LIBRARY_TASK = "mask-generation"


def pipeline(
    task: str,
    model: str | Path | Sam2Model = "auto",
    device: str | int | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    *,
    revision: str | None = None,
    processor: Sam2Processor | Sam2ImageProcessor | None = None,
    **options,
) -> Pipeline:
    """A pipeline of transformers around our model and processor.

    Args:
        task: "promptable-segmentation", "video-object-segmentation", or transformers' own "mask-generation".
        model: Hub id, folder, `.pt` or `.safetensors` file, "embedded", "auto" (a release where it can be had, else
            the embedded one; a log line says which), or a `Sam2Model`, which stays where and as it is.
        device, dtype: as for `sam2_hf.checkpoints.loading.load`.
        revision: of a Hub repository.
        processor: or its image half; default: the one that comes with the model, or that its configuration asks for.
        options: of the task, held for all calls; `batch_size`.

    Raises:
        ConfigError: another task, or arguments that do not go together.
        CheckpointError: a model that cannot be loaded.
    """
    if task not in (*OWN_TASKS, LIBRARY_TASK):
        raise ConfigError(f"there is no task {task!r}; there are {', '.join((*OWN_TASKS, LIBRARY_TASK))}")
    processor = options.pop("image_processor", processor)
    model = getattr(model, "_orig_mod", model)  # of a compiled model: the pipelines call its parts
    if isinstance(model, Sam2Model):
        given = {"device": device != "auto", "dtype": dtype != "auto", "revision": revision is not None}
        ignored = [name for name, is_given in given.items() if is_given]
        if ignored:
            raise ConfigError(f"a model that is passed stays as it is; leave out `{ignored[0]}`, or pass its name")
        processor = processor or Sam2Processor.from_config(model.config)
    elif isinstance(model, (str, Path)):
        is_chosen = model != "auto"
        model, loaded, line = load(str(model), revision=revision, device=device, dtype=dtype)
        processor = processor or loaded
        logger.log(logging.INFO if is_chosen else logging.WARNING, line)
    else:
        raise ConfigError(f"`model` is a name, a path or a sam2_hf.Sam2Model, got {type(model).__name__}")
    image_processor = getattr(processor, "image_processor", processor)
    if task == LIBRARY_TASK:
        options = {**library_thresholds(image_processor), **options}
    return library_pipeline(task, model=model, image_processor=image_processor, device=model.device, **options)


def register_tasks() -> None:
    """Makes `transformers.pipeline` know our tasks. Calling it twice does no harm."""
    known = PIPELINE_REGISTRY.get_supported_tasks()
    for task, (pipeline_class, kind) in OWN_TASKS.items():
        if task not in known:
            PIPELINE_REGISTRY.register_pipeline(task, pipeline_class=pipeline_class, pt_model=(Sam2Model,), type=kind)


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


register_tasks()
