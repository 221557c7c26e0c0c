"""Opens pictures in threads while others are being worked on."""

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from PIL import Image

from sam2_hf.errors import Sam2Error
from sam2_hf.pipelines.reading.picture_items import PictureItem


def read_ahead(
    items: Iterable[PictureItem], workers: int = 2
) -> Generator[tuple[PictureItem, Image.Image | Sam2Error]]:
    """Items in their order, each with its picture, or with the error that opening it raised.

    Args:
        workers: threads, and at most as many pictures are held besides the one that is worked on; 0 reads when asked.
    """
    if not workers:
        yield from ((item, _opened(item)) for item in items)
        return
    pool, single = ThreadPoolExecutor(workers), ThreadPoolExecutor(1)  # a video is read by one thread, frame by frame
    waiting: deque[tuple[PictureItem, Future]] = deque()
    try:
        for item in items:
            waiting.append((item, (single if item.in_order else pool).submit(_opened, item)))
            if len(waiting) > workers:
                ready, future = waiting.popleft()
                yield ready, future.result()
        while waiting:
            ready, future = waiting.popleft()
            yield ready, future.result()
    finally:
        for executor in (pool, single):
            executor.shutdown(wait=False, cancel_futures=True)


def _opened(item: PictureItem) -> Image.Image | Sam2Error:
    try:
        return item.open()
    except Sam2Error as error:
        return error
