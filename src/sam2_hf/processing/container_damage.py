"""Damage in the structure of Matroska, WebM and MPEG-TS files, which FFmpeg steps over without a word.

A Matroska file is elements laid end to end, each with its name and its length: where a name or a length cannot be,
bytes were lost. A transport stream is packets of equal size that begin with the same byte. This tells a damaged file
from one whose frame rate varies, which time stamps cannot.
"""

import mmap
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SEGMENT, CLUSTER = 0x18538067, 0x1F43B675
CONTAINERS = (SEGMENT, CLUSTER)  # looked into; others are stepped over
# in a segment, beside clusters: SeekHead, Info, Tracks, Cues, Chapters, Tags, Attachments
BESIDE_CLUSTERS = (0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1043A770, 0x1254C367, 0x1941A469)
MAX_NAME_BYTES = 4
SYNC = 0x47  # first byte of a packet of a transport stream
TRANSPORT_LAYOUTS = ((188, 0), (192, 4))  # size of a packet, place of that byte: plain, and with time codes


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedPart:
    """Bytes where frames may have been, and that make no sense.

    Attributes:
        start: where the file stops to make sense, or the zeros begin that go on there.
        end: where it does so again, or the end of the file.
    """

    start: int
    end: int


def damaged_parts(path: Path, file_format: str) -> list[DamagedPart]:
    """Damaged parts of a file, in order; empty for a sound one, and for formats that do not show it.

    Args:
        file_format: FFmpeg's name of it.
    """
    finder = next((find for name, find in FINDERS.items() if name in file_format), None)
    if finder is None:
        return []
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return [DamagedPart(start=_with_zeros(data, start), end=end) for start, end in finder(data)]


def _with_zeros(data: mmap.mmap, start: int) -> int:
    """Where the zeros begin that end at a place: what is damaged is often overwritten with them."""
    while start and data[start - 1] == 0:
        start -= 1
    return start


def _of_matroska(data: mmap.mmap) -> list[tuple[int, int]]:
    """Start and end of damaged parts of clusters. Reads the heads of elements only."""
    found, at, is_in_cluster = [], 0, False
    while at < len(data):
        name, body, end = _element(data, at)
        is_in_cluster = name == CLUSTER or (is_in_cluster and name not in BESIDE_CLUSTERS)
        if name and end <= len(data):
            at = body if name in CONTAINERS else end
            continue
        start, at = at, data.find(CLUSTER.to_bytes(4), at + 1)
        at = len(data) if at < 0 else at
        if is_in_cluster:
            found.append((start, at))
    return found


def _of_transport_stream(data: mmap.mmap) -> list[tuple[int, int]]:
    """Start and end of runs of packets that do not begin as they must."""
    for size, place in TRANSPORT_LAYOUTS:
        first = np.frombuffer(data, dtype=np.uint8, count=len(data) // size * size)[place::size]
        if len(first) > 1 and (first[:2] == SYNC).all():
            edges = np.flatnonzero(np.diff(np.concatenate([[0], first != SYNC, [0]])))
            return [(int(start) * size, int(end) * size) for start, end in edges.reshape(-1, 2)]
    return []


FINDERS = {"matroska": _of_matroska, "mpegts": _of_transport_stream}


def _element(data: mmap.mmap, at: int) -> tuple[int, int, int]:
    """Name, start of the content and end of an element; the name is 0 where there is none."""
    name_bytes = 9 - data[at].bit_length()
    if name_bytes > MAX_NAME_BYTES or at + name_bytes >= len(data):
        return 0, at, at
    name = int.from_bytes(data[at : at + name_bytes])
    first = data[at + name_bytes]
    size_bytes = 9 - first.bit_length()
    body = at + name_bytes + size_bytes
    if not first or body > len(data):
        return 0, at, at
    size = int.from_bytes(data[at + name_bytes : body]) & ((1 << 7 * size_bytes) - 1)
    is_endless = size == (1 << 7 * size_bytes) - 1  # of streams: it ends where the next one begins
    return name, body, body if is_endless or name in CONTAINERS else body + size
