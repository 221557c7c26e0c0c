"""What the tasks of this package share as pipelines of transformers."""

from pathlib import Path

from transformers import Pipeline

from sam2_hf.checkpoints.loading import processor_of
from sam2_hf.errors import PromptError
from sam2_hf.modeling.model import Sam2Model
from sam2_hf.processing.processor import Sam2Processor


class Sam2Pipeline(Pipeline):
    """A pipeline around `Sam2Model` and the processor that belongs to it."""

    _load_processor = False  # found here: the library looks them up by the names in a file, which are its own classes'
    _load_image_processor = False
    _load_video_processor = False
    _load_tokenizer = False
    _load_feature_extractor = False

    def __init__(self, *args, processor=None, image_processor=None, **kwargs):
        super().__init__(*args, **kwargs)
        if not isinstance(self.model, Sam2Model):
            kind = type(self.model)
            raise TypeError(
                f"task {self.task!r} needs sam2_hf.Sam2Model, got {kind.__module__}.{kind.__name__}; "
                "use sam2_hf.pipeline(...), or call sam2_hf.register_auto_classes() first"
            )
        self.model.eval()
        given = processor if processor is not None else image_processor
        if given is None or isinstance(given, (str, Path)):
            given = processor_of(self.model, given)
        self.image_processor = getattr(given, "image_processor", given)
        self.segmenter = Sam2Processor(self.image_processor)

    def forward(self, model_inputs, **parameters):
        """`_forward` on the model's device, where what it found stays until `postprocess` has made it small."""
        with self.device_placement():
            return self._forward(model_inputs, **parameters)


def refuse_unknown(task: str, parameters: dict, known: tuple[str, ...]) -> None:
    """Raises TypeError for a parameter that a task does not have."""
    unknown = [name for name in parameters if name not in known]
    if unknown:
        raise TypeError(f"{task} takes no `{unknown[0]}`; it takes {', '.join(known)}")


def refuse_beside_file(prompts: dict) -> None:
    """Raises PromptError for prompts beside a file of prompts."""
    others = [name for name in prompts if name != "prompts"]
    if others:
        raise PromptError(f"`prompts` is a file that says everything; leave out `{others[0]}`")
