"""The task `promptable-segmentation`: pictures and prompts in, `ImageResult` out."""

from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from itertools import islice
from typing import Any

from sam2_hf.errors import PromptError
from sam2_hf.pipelines.image import SegmentOptions, segment_batch
from sam2_hf.pipelines.prompt_file import read_picture_prompts
from sam2_hf.pipelines.records import class_numbers
from sam2_hf.pipelines.results import ImageResult
from sam2_hf.pipelines.task import Sam2Pipeline, refuse_beside_file, refuse_unknown
from sam2_hf.processing.prompts import ObjectPrompt
from sam2_hf.processing.requests import requests_of_pictures

PROMPTS = ("points", "labels", "boxes", "masks", "mask_logits", "objects", "object_ids", "prompts")
OPTIONS = tuple(entry.name for entry in fields(SegmentOptions))


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
        refuse_unknown("promptable-segmentation", parameters, (*PROMPTS, *OPTIONS))
        prompts = {name: parameters[name] for name in PROMPTS if parameters.get(name) is not None}
        return prompts, {name: parameters[name] for name in OPTIONS if name in parameters}, {}

    def __call__(self, inputs, *, batch_size: int | None = None, num_workers: int | None = None, **parameters):
        """Segments pictures.

        Args:
            inputs: path, URL, PIL image, array or tensor; or a dict with "image" and prompts of its own; or a list,
                generator or data set of these.
            batch_size: pictures that are encoded together.
            num_workers: taken for the sake of other pipelines; pictures are read by this process.
            parameters: `points`, `labels`, `boxes`, `masks`, `mask_logits`, `objects`, `object_ids`, as for
                `sam2_hf.processing.requests.requests_from`, for every picture, or with one level more for each of a
                list; `prompts`, a file of them; fields of `SegmentOptions`.

        Returns:
            `ImageResult`; for a list a list, for a generator or data set an iterator.

        Raises:
            PromptError: no prompt, or one that cannot be meant.
            SourceError: a picture that cannot be read.
        """
        prompts, options, _ = self._sanitize_parameters(**parameters)
        prompts, options = {**self._preprocess_params, **prompts}, {**self._forward_params, **options}
        batch_size = batch_size or self._batch_size or 1
        if isinstance(inputs, (list, tuple)):
            return list(self._results(inputs, _requests(prompts, len(inputs)), batch_size, options))
        if _is_many(inputs):
            return self._results(inputs, _requests(prompts, None), batch_size, options)
        return next(self._results([inputs], _requests(prompts, 1), 1, options))

    def _results(self, inputs: Iterable, given: list, batch_size: int, options: dict) -> Iterator[ImageResult]:
        """Results in the order of the inputs, which are read a batch at a time."""
        is_per_picture = bool(given) and isinstance(given[0], list)
        entries = inputs if hasattr(inputs, "__iter__") else (inputs[row] for row in range(len(inputs)))
        pairs = (
            _picture_and_requests(entry, given[index] if is_per_picture else given)
            for index, entry in enumerate(entries)
        )
        while batch := list(islice(pairs, batch_size)):
            yield from self.postprocess(self.forward(self.preprocess(batch), **options))

    def postprocess(self, model_outputs: list[ImageResult], **parameters) -> list[ImageResult]:
        """Results with classes that have one number in all pictures of this pipeline, in the order of `classes`."""
        for result in model_outputs:
            self.classes += [name for name in dict.fromkeys(result.labels) if name and name not in self.classes]
        return [replace(r, class_ids=class_numbers(r.labels, self.classes)) for r in model_outputs]

    def _forward(self, input_tensors: dict, **options) -> list[ImageResult]:
        images, requests = zip(*input_tensors["inputs"], strict=True)
        return segment_batch(self.model, self.segmenter, images, requests, **options)


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
