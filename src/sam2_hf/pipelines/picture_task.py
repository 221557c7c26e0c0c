"""The task `promptable-segmentation`: pictures and prompts in, `ImageResult` out."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from sam2_hf.errors import PromptError
from sam2_hf.pipelines.image import PROMPTS as PICTURE_PROMPTS
from sam2_hf.pipelines.image import SegmentOptions
from sam2_hf.pipelines.picture_stages import decode, prepare, to_result
from sam2_hf.pipelines.prompt_file import read_picture_prompts
from sam2_hf.pipelines.records import class_numbers
from sam2_hf.pipelines.results import ImageResult
from sam2_hf.pipelines.signatures import takes_arguments_of
from sam2_hf.pipelines.task import Sam2Pipeline, refuse_beside_file, refuse_unknown
from sam2_hf.processing.prompts import ObjectPrompt
from sam2_hf.processing.requests import requests_from, requests_of_pictures

PROMPTS = (*PICTURE_PROMPTS, "prompts")
STAGES = (  # which stage takes which field of SegmentOptions
    ("normalized", "allow_no_prompt"),
    ("multimask", "object_batch"),
    ("max_hole_area", "max_sprinkle_area", "return_logits"),
)


class PromptableSegmentationPipeline(Sam2Pipeline):
    """Points, boxes and masks in, the masks of those objects out.

    ```python
    segment = sam2_hf.pipeline("promptable-segmentation", model="facebook/sam2.1-hiera-tiny")
    result = segment("photo.jpg", points=[500, 375])  # ImageResult
    results = segment(["a.jpg", "b.jpg"], boxes=[[[0, 0, 90, 80]], [[10, 10, 50, 50]]], batch_size=2)
    for result in segment({"image": path, "points": click} for path, click in clicks): ...
    ```
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.classes: list[str] = []  # names by their numbers, in the order in which they came

    def _sanitize_parameters(self, **parameters):
        refuse_unknown("promptable-segmentation", parameters, (*PROMPTS, *(name for names in STAGES for name in names)))
        SegmentOptions(**{name: value for name, value in parameters.items() if name not in PROMPTS})  # checks values
        before, during, after = ({name: parameters[name] for name in names if name in parameters} for names in STAGES)
        prompts = {name: parameters[name] for name in PROMPTS if parameters.get(name) is not None}
        return {**prompts, **before}, during, after

    @takes_arguments_of(requests_from, SegmentOptions, but=("frame",))
    def __call__(
        self,
        inputs,
        *,
        prompts: str | Path | None = None,
        batch_size: int | None = None,
        num_workers: int | None = None,
        **given,
    ) -> ImageResult | list[ImageResult] | Iterator[ImageResult]:
        """Segments pictures.

        Args:
            inputs: path, URL, PIL image, array or tensor; or a dict with "image" and prompts of its own; or a list,
                generator or data set of these.
            prompts: a file of them.
            batch_size: pictures that are encoded together.
            num_workers: processes that read and prepare pictures of a list or data set ahead; default: none, this
                process does.
            given: points, labels, boxes, masks, mask_logits, objects, object_ids as for
                `sam2_hf.processing.requests.requests_from`, for every picture, or with one level more for each of a
                list; and fields of `SegmentOptions`.

        Returns:
            `ImageResult`; for a list a list, for a generator or data set an iterator.

        Raises:
            PromptError: no prompt, or one that cannot be meant.
            SourceError: a picture that cannot be read.
        """
        held = {name: value for name, value in self._preprocess_params.items() if name in PROMPTS}
        new = {name: value for name, value in {**given, "prompts": prompts}.items() if value is not None}
        asked = {**held, **{name: value for name, value in new.items() if name in PROMPTS}}
        options = {name: value for name, value in given.items() if name not in PROMPTS}
        run = {"batch_size": batch_size, "num_workers": num_workers, **options}
        if isinstance(inputs, (list, tuple)):
            return list(super().__call__(_Entries(inputs, _requests(asked, len(inputs))), **run))
        if not _is_many(inputs):
            return super().__call__(_Asked(inputs, _requests(asked, 1)), **run)
        requests = _requests(asked, None)
        if hasattr(inputs, "__len__") and hasattr(inputs, "__getitem__"):
            return (result for result in super().__call__(_Entries(inputs, requests), **run))
        each = (_Asked(entry, _of_one(requests, row)) for row, entry in enumerate(inputs))
        return (result for result in super().__call__(each, **run))

    def preprocess(self, inputs, *, normalized: bool = False, allow_no_prompt: bool = False, **prompts) -> dict:
        """A picture, read and made the model's input beside its prompts."""
        asked = inputs if isinstance(inputs, _Asked) else _Asked(inputs, _requests(prompts, 1))
        image, requests = asked.picture_and_requests()
        picture = prepare(self.segmenter, image, requests, normalized=normalized, allow_no_prompt=allow_no_prompt)
        return {"pixel_values": picture.pixel_values, "picture": picture}

    def _forward(self, input_tensors: dict, **options) -> dict:
        """The model's answers; where pictures come in a batch, lists of them."""
        pictures = input_tensors["picture"]
        is_batch = isinstance(pictures, list)
        answers = decode(self.model, input_tensors["pixel_values"], pictures if is_batch else [pictures], **options)
        return {"answer": answers if is_batch else answers[0], "picture": pictures}

    def postprocess(self, model_outputs: dict, **options) -> ImageResult:
        """A result whose classes have one number in all pictures of this pipeline, in the order of `classes`."""
        result = to_result(self.segmenter, model_outputs["picture"], model_outputs["answer"], **options)
        self.classes += [name for name in dict.fromkeys(result.labels) if name and name not in self.classes]
        return replace(result, class_ids=class_numbers(result.labels, self.classes))


@dataclass(frozen=True, slots=True)
class _Asked:
    """An entry of the user's input, and the requests that hold for it unless it has some of its own."""

    entry: Any
    requests: list[ObjectPrompt]

    def picture_and_requests(self) -> tuple[Any, list[ObjectPrompt]]:
        """The picture itself, and what is asked of it."""
        return _picture_and_requests(self.entry, _of_one(self.requests, 0))


class _Entries(Dataset):
    """A list or data set as the library's loop walks through it."""

    def __init__(self, inputs, requests: list):
        self.inputs, self.requests = inputs, requests

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> _Asked:
        return _Asked(self.inputs[index], _of_one(self.requests, index))


def _of_one(requests: list, index: int) -> list[ObjectPrompt]:
    """The requests of one picture, from one list for all or a list for each."""
    return requests[index] if requests and isinstance(requests[0], list) else requests


def _requests(prompts: dict[str, Any], count: int | None) -> list:
    """Requests for every picture, or one list for each."""
    if "prompts" not in prompts:
        return requests_of_pictures(count, **prompts)
    refuse_beside_file(prompts)
    return read_picture_prompts(prompts["prompts"])


def _picture_and_requests(entry, requests: list[ObjectPrompt]) -> tuple[Any, list[ObjectPrompt]]:
    """A picture, and its own prompts if it came with some."""
    if not isinstance(entry, dict):
        return entry, requests
    own = {name: value for name, value in entry.items() if value is not None}
    image = own.pop("image", None)
    unknown = [name for name in own if name not in PROMPTS]
    if image is None or unknown:
        found = f"no 'image' in {sorted(entry)}" if image is None else f"there is no {unknown[0]!r}"
        remedy = 'for one column of a data set pass KeyDataset(data, "image")'
        raise PromptError(f"{found}; a picture's dict has 'image' and any of {', '.join(PROMPTS)}; {remedy}")
    if not own:
        return image, requests
    found = _requests(own, 1)
    return image, found[0] if isinstance(found[0], list) else found


def _is_many(inputs) -> bool:
    """Generators, iterators and data sets; not the single things that happen to have a length."""
    if isinstance(inputs, (str, bytes, dict)) or hasattr(inputs, "ndim"):
        return False
    return hasattr(inputs, "__iter__") or (hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__"))
