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

    def __call__(self, pictures: list, items: list, object_batch: int) -> list:
        """`ImageResult` of each picture, encoded together.

        Raises:
            PromptError: there is none for a picture, or one that it cannot have.
        """
        from sam2_hf.pipelines.image import segment_batch

        requests = [self._requests(item) for item in items]
        options = {**self.options, "object_batch": object_batch}
        return segment_batch(self.network, self.processor, pictures, requests, **options)

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

    def __call__(self, pictures: list, items: list, object_batch: int) -> list:
        """`ImageResult` of each picture, encoded together."""
        from sam2_hf.pipelines.mask_generation import Sam2MaskGenerator

        how = {**self.options, "points_per_batch": object_batch, "batch_size": len(pictures)}
        return list(Sam2MaskGenerator(self.network, self.processor, **how).results(pictures))


class WithinMemory:
    """Asks for fewer pictures, then for fewer objects at once when memory runs out, and stays with that number.

    Args:
        method: called as `method(pictures, items, object_batch)`.
        object_batch: to begin with.
        say: called with a line for people.
    """

    def __init__(self, method, object_batch: int, say):
        self.method, self.object_batch, self.say = method, object_batch, say
        self.batch_size: int | None = None

    def __call__(self, pictures: list, items: list) -> list:
        """What `method` gives.

        Raises:
            MemoryError: it does not fit, even picture by picture and object by object.
        """
        step = min(self.batch_size or len(pictures), len(pictures))
        if step < len(pictures):
            starts = range(0, len(pictures), step)
            return [found for i in starts for found in self(pictures[i : i + step], items[i : i + step])]
        while True:
            try:
                return self.method(pictures, items, self.object_batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if len(pictures) == self.object_batch == 1:
                    remedy = "use a smaller picture, a smaller --model, or another --device"
                    where = items[0].source
                    raise MemoryError(f"{where}: out of memory even object by object; {remedy}") from error
            self._release()
            if len(pictures) > 1:
                self.batch_size = len(pictures) // 2
                self.say(f"{items[0].source}: out of memory; going on with {self.batch_size} pictures at once")
                return self(pictures, items)
            self.object_batch //= 2
            self.say(f"{items[0].source}: out of memory; going on with --object-batch {self.object_batch}")

    def _release(self) -> None:
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()
