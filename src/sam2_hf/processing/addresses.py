"""Files behind web addresses: with a limit of size, and without letting a server send us into our own network."""

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urljoin, urlsplit

from huggingface_hub import get_session
from huggingface_hub.errors import OfflineModeIsEnabled

from sam2_hf.errors import SourceError

WEB = ("http://", "https://")
TIMEOUT_S = 30.0
REDIRECTS = (301, 302, 303, 307, 308)
MAX_REDIRECTS = 5


@contextmanager
def opened_address(url: str, headers: dict[str, str] | None = None) -> Iterator:
    """The response behind an address, to be streamed, after redirects.

    Raises:
        SourceError: no answer within 30 seconds, too many redirects, one from elsewhere into this machine's network, or
            HF_HUB_OFFLINE is set.
    """
    address, is_local = url, _is_local(url)
    try:
        for _ in range(MAX_REDIRECTS + 1):
            if not is_local and _is_local(address):
                raise SourceError(f"{url}: leads into the local network ({address}); pass that address if it is meant")
            opened = get_session().stream(
                "GET", address, headers=headers or {}, timeout=TIMEOUT_S, follow_redirects=False
            )
            with opened as response:
                if response.status_code not in REDIRECTS or "location" not in response.headers:
                    yield response
                    return
                address = urljoin(address, response.headers["location"])
            if not address.startswith(WEB):
                raise SourceError(f"{url}: leads to {address!r}, which is no web address")
    except OfflineModeIsEnabled as error:
        raise SourceError(
            f"{url}: is not asked for, because HF_HUB_OFFLINE is set; unset it, or pass a file"
        ) from error
    except (SourceError, OSError):
        raise
    except Exception as error:  # refused, unknown host, timeout: the kinds belong to the HTTP library in use
        raise SourceError(f"{url}: no answer ({type(error).__name__}); check the address") from error
    raise SourceError(f"{url}: leads to another address more than {MAX_REDIRECTS} times")


def limited(blocks: Iterator[bytes], url: str, max_bytes: int) -> Iterator[bytes]:
    """Blocks of a response up to a limit.

    Raises:
        SourceError: there are more.
    """
    read = 0
    for block in blocks:
        read += len(block)
        if read > max_bytes:
            raise SourceError(f"{url}: is larger than {max_bytes} bytes; fetch it yourself and pass the file")
        yield block


def _is_local(url: str) -> bool:
    """Whether an address is of this machine or its private network."""
    try:
        host = urlsplit(url).hostname or ""
        found = socket.getaddrinfo(host, None)
    except (ValueError, OSError):
        return False  # no address at all: the request says so
    return any(not ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_global for entry in found)
