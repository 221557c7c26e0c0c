"""One picture of a source: its name in the output, and how to open it when its turn comes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from PIL import Image

from sam2_hf.errors import SourceError
from sam2_hf.pipelines.reading.downloads import download
from sam2_hf.processing.natural_order import natural_key
from sam2_hf.processing.pixels import decode_picture, open_picture

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".avif", ".jp2")


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureItem:
    """A picture that has not been opened yet.

    Attributes:
        key: path below the root of its source, with '/'; outputs mirror it.
        source: path, address, `clip.mp4#000123`, `shard.tar!a/b.jpg` or `hub:user/name:train#17`.
        open: returns the picture, RGB or another mode, turned as its EXIF data says. Raises SourceError for this
            picture alone.
        boxes: (x0, y0, x1, y1) in pixels, from a list that has them.
        labels: classes of these boxes; without boxes at most one, that of every object. None for no class.
        in_order: opened one after the other, as the frames of a video are.
    """

    key: str
    source: str
    open: Callable[[], Image.Image]
    boxes: tuple[tuple[float, ...], ...] = ()
    labels: tuple[str | None, ...] = ()
    in_order: bool = False


def file_item(path: Path, key: str) -> PictureItem:
    """A picture file, which need not exist before it is opened."""

    def read() -> Image.Image:
        try:
            return open_picture(path)
        except OSError as error:  # a name that is too long, a file that may not be read
            raise SourceError(f"{path}: cannot be read ({error.strerror or error})") from error

    return PictureItem(key=safe_key(key), source=str(path), open=read)


def failing_item(key: str, source: str, problem: SourceError) -> PictureItem:
    """A picture that is known to be broken, so that it fails when its turn comes and does not fail the others."""

    def refuse() -> Image.Image:
        raise problem

    return PictureItem(key=safe_key(key), source=source, open=refuse)


def web_item(url: str, key: str, offline: bool) -> PictureItem:
    """A picture behind an address; it is fetched to the cache when it is opened."""
    return PictureItem(key=safe_key(key), source=url, open=lambda: decode_picture(download(url, offline=offline), url))


def web_key(url: str) -> str:
    """Host and path of an address."""
    parts = urlsplit(url)
    return safe_key(f"{parts.hostname}/{unquote(parts.path)}")


def safe_key(key: str) -> str:
    """A key that names a file below the output folder, whatever came in."""
    parts = [part for part in PurePosixPath(key.replace("\\", "/")).parts if part not in ("/", "..", ".")]
    return "/".join(parts) or "picture"


def path_order(path: Path) -> list:
    """Sorts paths folder by folder, and 2 before 10."""
    return [natural_key(part) for part in path.parts]
