"""Pictures and prompts in, `ImageResult` out: `segment` for one picture, `segment_batch` for several."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sam2_hf.modeling.model import Sam2Model
from sam2_hf.pipelines.picture_stages import OBJECT_BATCH, decode, prepare, to_result
from sam2_hf.pipelines.results import ImageResult
from sam2_hf.pipelines.signatures import arguments_of, takes_arguments_of
from sam2_hf.processing.processor import Sam2Processor
from sam2_hf.processing.prompts import ObjectPrompt
from sam2_hf.processing.requests import requests_from


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentOptions:
    """How pictures are segmented.

    Attributes:
        normalized: points and boxes are fractions of width and height.
        multimask: ask for three candidates per object; the best one counts and all are in `alternatives`.
        max_hole_area, max_sprinkle_area: holes to fill and specks to remove, in low-resolution pixels.
        object_batch: objects per decoder call; no influence on results beyond rounding.
        return_logits: keep low-resolution logits in the result; they can be given back as `mask_logits`.
        allow_no_prompt: a picture without prompts is not an error: the model shows what it holds for the object.
    """

    normalized: bool = False
    multimask: bool = False
    max_hole_area: float = 0.0
    max_sprinkle_area: float = 0.0
    object_batch: int = OBJECT_BATCH
    return_logits: bool = False
    allow_no_prompt: bool = False

    def __post_init__(self):
        if self.object_batch < 1:
            raise ValueError(f"`object_batch` is {self.object_batch}, but it must be at least 1")


PROMPTS = tuple(name for name in arguments_of(requests_from) if name != "frame")  # of a picture


@takes_arguments_of(requests_from, SegmentOptions, but=("frame",))
def segment(model: Sam2Model, processor: Sam2Processor, image, **given) -> ImageResult:
    """Segments the prompted objects of one picture.

    Args:
        image: anything that the processor reads.
        given: points, labels, boxes, masks, mask_logits, objects, object_ids as for
            `sam2_hf.processing.requests.requests_from`, in pixels of the original; and fields of `SegmentOptions`.

    Raises:
        PromptError: no prompt, or one that cannot be meant.
        SourceError: a picture that cannot be read.
    """
    requests = requests_from(**{name: value for name, value in given.items() if name in PROMPTS})
    options = {name: value for name, value in given.items() if name not in PROMPTS}
    return segment_batch(model, processor, [image], [requests], **options)[0]


@takes_arguments_of(SegmentOptions)
def segment_batch(
    model: Sam2Model,
    processor: Sam2Processor,
    images: Sequence,
    requests: Sequence[Sequence[ObjectPrompt]],
    **options,
) -> list[ImageResult]:
    """Segments several pictures of any sizes, encoded together.

    Args:
        images: anything that the processor reads.
        requests: of each picture.
        options: fields of `SegmentOptions`.

    Raises:
        PromptError: a picture without prompts, or a prompt that cannot be meant.
        SourceError: a picture that cannot be read.
    """
    settings = SegmentOptions(**options)
    pictures = [
        prepare(processor, image, asked, normalized=settings.normalized, allow_no_prompt=settings.allow_no_prompt)
        for image, asked in zip(images, requests, strict=True)
    ]
    pixels = torch.cat([picture.pixel_values for picture in pictures])
    answers = decode(model, pixels, pictures, multimask=settings.multimask, object_batch=settings.object_batch)
    chosen = (settings.max_hole_area, settings.max_sprinkle_area, settings.return_logits)
    return [to_result(processor, picture, answer, *chosen) for picture, answer in zip(pictures, answers, strict=True)]
