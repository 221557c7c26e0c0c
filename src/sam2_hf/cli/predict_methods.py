"""How `sam2-hf predict` makes a result of a picture: from prompts, or of everything in it."""

from sam2_hf.cli.exit_codes import is_out_of_memory
from sam2_hf.errors import PromptError


class FromPrompts:
    """Segments prompted objects.

    Args:
        requests: that hold for every picture; none where pictures bring boxes of their own.
        options: fields of `SegmentOptions`.
    """

    def __init__(self, network, processor, requests: list, options: dict):
        self.network, self.processor, self.requests, self.options = network, processor, requests, options

    def __call__(self, picture, item, object_batch: int):
        """`ImageResult` of one picture.

        Raises:
            PromptError: there is none for this picture, or one that it cannot have.
        """
        from sam2_hf.pipelines.image import segment_batch

        options = {**self.options, "object_batch": object_batch}
        return segment_batch(self.network, self.processor, [picture], [self._requests(item)], **options)[0]

    def _requests(self, item) -> list:
        from sam2_hf.pipelines.requests import requests_from

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

    def __call__(self, picture, item, object_batch: int):
        """`ImageResult` of one picture."""
        from sam2_hf.pipelines.mask_generation import Sam2MaskGenerator

        generator = Sam2MaskGenerator(self.network, self.processor, points_per_batch=object_batch, **self.options)
        return generator(picture)


class WithinMemory:
    """Asks for fewer objects at once when memory runs out, and stays with that number.

    Args:
        method: called as `method(picture, item, object_batch)`.
        object_batch: to begin with.
        say: called with a line for people.
    """

    def __init__(self, method, object_batch: int, say):
        self.method, self.object_batch, self.say = method, object_batch, say

    def __call__(self, picture, item):
        """What `method` gives.

        Raises:
            MemoryError: it does not fit, even object by object.
        """
        while True:
            try:
                return self.method(picture, item, self.object_batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self.object_batch == 1:
                    remedy = "use a smaller picture, a smaller --model, or another --device"
                    raise MemoryError(f"{item.source}: out of memory even object by object; {remedy}") from error
            self._release()
            self.object_batch //= 2
            self.say(f"{item.source}: out of memory; going on with --object-batch {self.object_batch}")

    def _release(self) -> None:
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()
