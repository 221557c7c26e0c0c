"""When memory runs out: fewer pictures at once, then fewer objects, and only then an error."""

from collections.abc import Callable


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the machine or its accelerator had too little memory. PyTorch says so in words, with several classes."""
    words = ("out of memory", "not enough memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )


class WithinMemory:
    """Asks for fewer pictures, then for fewer objects at once when memory runs out, and stays with that number.

    Args:
        method: called as `method(pictures, items, object_batch)`.
        object_batch: to begin with.
        say: called with a line for people.
    """

    def __init__(self, method: Callable, object_batch: int, say: Callable[[str], None]):
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
            release_memory()
            if len(pictures) > 1:
                self.batch_size = len(pictures) // 2
                self.say(f"{items[0].source}: out of memory; going on with {self.batch_size} pictures at once")
                return self(pictures, items)
            self.object_batch //= 2
            self.say(f"{items[0].source}: out of memory; going on with --object-batch {self.object_batch}")


def release_memory() -> None:
    """Gives back what the accelerator's allocator holds and nobody uses."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
