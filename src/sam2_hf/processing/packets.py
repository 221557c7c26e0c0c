"""Packets of a video file in the order of decoding: which frames are spoilt by one that cannot be decoded, or is lost.

A frame between two key frames is drawn from those before it. Without one of them decoders go on from what they have,
and the picture that they give is not that of the frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from sam2_hf.processing.container_damage import DamagedPart

REORDERED = 16  # frames by which the order of decoding differs at most from that of showing


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """What is known of a frame before it is decoded.

    Attributes:
        time: its time stamp.
        place: of its first byte in the file, None if it is not known.
        size: bytes.
        is_key: it is drawn from no other.
        is_alone: no other is drawn from it.
    """

    time: int
    place: int | None
    size: int
    is_key: bool
    is_alone: bool


class Packets:
    """Packets in the order of decoding.

    Attributes:
        by_time: from each time stamp to the number of its packet.
    """

    def __init__(self, packets: Sequence[Packet]):
        self._packets = list(packets)
        self.by_time = {packet.time: number for number, packet in enumerate(self._packets)}

    def spoilt_by(self, number: int) -> list[int]:
        """Time stamps of a packet that cannot be decoded and of all that are drawn from it."""
        return [self._packets[number].time, *([] if self._packets[number].is_alone else self._from(number + 1))]

    def cut_by(self, part: DamagedPart) -> list[int]:
        """Time stamps of those whose last bytes a damaged part holds."""
        placed = ((packet, packet.place) for packet in self._packets if packet.place is not None)
        return [packet.time for packet, place in placed if place < part.start < place + packet.size]

    def spoilt_behind(self, part: DamagedPart) -> list[int]:
        """Time stamps of those that are drawn from what a damaged part held."""
        first = next((n for n, packet in enumerate(self._packets) if (packet.place or 0) >= part.end), None)
        return [] if first is None else self._from(first)

    def around(self, number: int) -> tuple[int, int]:
        """First and last packet to look at to know whether one can be decoded: from the key frame before its own, for
        frames that come behind a key frame and are shown before it, to the last one before the next key frame."""
        keys = [row for row, packet in enumerate(self._packets[: number + 1]) if packet.is_key]
        behind = (row for row in range(number + 1, len(self._packets)) if self._packets[row].is_key)
        return (keys or [0])[-2:][0], next(behind, len(self._packets)) - 1

    def is_led(self, number: int, entry: int) -> bool:
        """Whether a packet is shown before the key frame at which decoding began, and so not asked of it."""
        return self._packets[number].time < self._packets[entry].time

    def time(self, number: int) -> int:
        """Time stamp of a packet."""
        return self._packets[number].time

    def _from(self, number: int) -> list[int]:
        """Those up to the next key frame, and those behind it that are shown before it."""
        spoilt = []
        while number < len(self._packets) and not self._packets[number].is_key:
            spoilt.append(self._packets[number].time)
            number += 1
        if number == len(self._packets):
            return spoilt
        key = self._packets[number]
        for packet in self._packets[number + 1 :]:
            if packet.time >= key.time:
                break
            spoilt.append(packet.time)
        return spoilt

    def lost(self, parts: Sequence[DamagedPart], tick: Fraction, rate: Fraction | None) -> list[int] | None:
        """Time stamps of the frames that damaged parts held; None if they cannot be told, as the rate varies.

        Args:
            parts: of those, the ones with packets on both sides count.
            tick: seconds per step of time stamps.
            rate: frames per second that the file tells.
        """
        windows = [window for part in parts if (window := self._window(part)) is not None]
        if not windows:
            return []
        if not rate:
            return None
        step, first = 1 / (rate * tick), min(self.by_time)
        rows = {round((time - first) / step): time for time in self.by_time}
        if len(rows) < len(self.by_time) or any(abs(first + row * step - time) > 1 for row, time in rows.items()):
            return None
        missing = [round(first + row * step) for row in range(max(rows)) if row not in rows]
        reach = REORDERED * step
        is_told = all(any(low - reach < time < high + reach for low, high in windows) for time in missing)
        return missing if is_told else None

    def _window(self, part: DamagedPart) -> tuple[int, int] | None:
        """Time stamps on both sides of a damaged part."""
        before = [packet.time for packet in self._packets if packet.place is not None and packet.place < part.start]
        behind = [packet.time for packet in self._packets if packet.place is not None and packet.place >= part.end]
        return (before[-1], behind[0]) if before and behind else None
