"""Damage in the structure of Matroska and WebM files, which FFmpeg steps over without a word.

Such a file is elements laid end to end, each with its name and its length: where a name or a length cannot be, bytes
were lost. This tells a damaged file from one whose frame rate varies, which time stamps cannot.
"""

import mmap
from dataclasses import dataclass
from pathlib import Path

SEGMENT, CLUSTER = 0x18538067, 0x1F43B675
CONTAINERS = (SEGMENT, CLUSTER)  # looked into; others are stepped over
# in a segment, beside clusters: SeekHead, Info, Tracks, Cues, Chapters, Tags, Attachments
BESIDE_CLUSTERS = (0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1043A770, 0x1254C367, 0x1941A469)
MAX_NAME_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedPart:
    """Bytes of a cluster, and so perhaps of frames, that make no sense.

    Attributes:
        start: where elements stop to follow each other, or the zeros begin that go on there.
        end: where they do so again, or the end of the file.
    """

    start: int
    end: int


def damaged_parts(path: Path) -> list[DamagedPart]:
    """Damaged parts of the clusters of a file, in order; empty for a sound file. Reads the heads of elements only."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found, at, is_in_cluster = [], 0, False
        while at < len(data):
            name, body, end = _element(data, at)
            is_in_cluster = name == CLUSTER or (is_in_cluster and name not in BESIDE_CLUSTERS)
            if name and end <= len(data):
                at = body if name in CONTAINERS else end
                continue
            start, at = at, data.find(CLUSTER.to_bytes(4), at + 1)
            at = len(data) if at < 0 else at
            while data[start - 1] == 0:
                start -= 1
            if is_in_cluster:
                found.append(DamagedPart(start=start, end=at))
        return found


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
