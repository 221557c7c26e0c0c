"""Files behind addresses, in a cache. What is there is used again only if the server says that it has not changed."""

import hashlib
import os
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from huggingface_hub import constants

from sam2_hf.disk.whole import whole_file, write_whole
from sam2_hf.errors import SourceError
from sam2_hf.processing.addresses import limited, opened_address

CACHE_VARIABLE = "SAM2_HF_CACHE"
MAX_BYTES = 2 * 1024**3
UNCHANGED = 304


def cache_folder() -> Path:
    """Where downloads are kept: `$SAM2_HF_CACHE`, else beside the cache of the Hub."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path(constants.HF_HOME) / "sam2_hf" / "downloads")


def download(url: str, *, offline: bool = False, max_bytes: int = MAX_BYTES) -> Path:
    """The file behind an address, in the cache.

    Args:
        offline: take what the cache has and ask nobody.
        max_bytes: larger files are refused.

    Raises:
        SourceError: no answer within 30 seconds, an answer other than success, or a file that is too large.
    """
    name = hashlib.sha256(url.encode()).hexdigest()[:24] + PurePosixPath(urlsplit(url).path).suffix[:8]
    kept = cache_folder() / name
    if offline:
        if not kept.exists():
            raise SourceError(f"{url}: is not in the cache ({cache_folder()}) and may not be fetched; be online once")
        return kept
    tag = kept.with_name(f"{name}.etag")
    known = tag.read_text() if tag.exists() and kept.exists() else None
    return _fetch(url, kept, tag, known, max_bytes)


def _fetch(url: str, kept: Path, tag: Path, known: str | None, max_bytes: int) -> Path:
    headers = {"If-None-Match": known} if known else {}
    with opened_address(url, headers) as response:
        if response.status_code == UNCHANGED and known:
            return kept
        if response.status_code != 200:
            raise SourceError(f"{url}: the server answered {response.status_code}; check the address")
        tag.unlink(missing_ok=True)
        with whole_file(kept, "wb", own=True) as file:  # others may fetch it too
            for block in limited(response.iter_bytes(), url, max_bytes):
                file.write(block)
        if response.headers.get("etag"):
            write_whole(tag, response.headers["etag"].encode(), overwrite=True)
    return kept
