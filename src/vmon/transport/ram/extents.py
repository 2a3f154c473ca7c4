"""A guest-physical address is not an offset: RAM lies around holes, in one or several backings.

Pure: a table from guest-physical runs to places (file offsets or host addresses). The table comes from the
hypervisor or from a dump's headers, the addresses looked up come from the guest and may be any 64-bit number.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vmon.core.address import Gpa
from vmon.core.errors import PhysReadError
from vmon.core.ports import RamRange

KEPT_SIZES = 256
"""Row sizes for which the limits are kept; a reader of structures uses a few dozen."""


@dataclass(frozen=True, slots=True)
class Extent:
    """A run of guest-physical addresses that lies in one piece in one backing."""

    gpa: Gpa
    size_bytes: int
    place: int
    """Where the first byte is: an offset in a file, or an address in the QEMU process (Hva)."""
    backing: int = 0
    """Which of the backings, where there are several."""

    @property
    def end_gpa(self) -> Gpa:
        """First address after the extent."""
        return Gpa(self.gpa + self.size_bytes)


def merge(extents: list[Extent]) -> list[Extent]:
    """Sort, and join neighbours that continue each other in the guest and in the backing."""
    merged: list[Extent] = []
    for extent in sorted(extents, key=lambda e: e.gpa):
        last = merged[-1] if merged else None
        if (
            last
            and last.end_gpa == extent.gpa
            and last.backing == extent.backing
            and last.place + last.size_bytes == extent.place
        ):
            merged[-1] = Extent(last.gpa, last.size_bytes + extent.size_bytes, last.place, last.backing)
        else:
            merged.append(extent)
    return merged


def join_ranges(ranges: Iterator[RamRange]) -> Iterator[RamRange]:
    """Join adjacent ranges of a sorted series."""
    last: RamRange | None = None
    for item in ranges:
        if last and last.end_gpa == item.gpa:
            last = RamRange(last.gpa, last.size_bytes + item.size_bytes)
            continue
        if last:
            yield last
        last = item
    if last:
        yield last


class ExtentTable:
    """Looks addresses up: one by one for `read`, by the thousand for `gather`."""

    def __init__(self, extents: list[Extent]) -> None:
        self.extents = tuple(merge([e for e in extents if e.size_bytes > 0]))
        for before, after in pairwise(self.extents):
            if before.end_gpa > after.gpa:
                raise ValueError(f"RAM extents overlap at {after.gpa:#x}")
        self.ranges = tuple(join_ranges(RamRange(e.gpa, e.size_bytes) for e in self.extents))
        self._first_gpas = [int(e.gpa) for e in self.extents]
        self._extent_starts = np.array([e.gpa for e in self.extents], np.uint64)
        self._range_starts = np.array([r.gpa for r in self.ranges], np.uint64)
        # Slot 0 stands for addresses below all RAM, so that searchsorted's answer is an index as it is.
        self._moves = np.array([0] + [(e.place - e.gpa) % 2**64 for e in self.extents], np.uint64)
        self._backings = np.array([0] + [e.backing for e in self.extents], np.intp)
        self._limits: dict[tuple[bool, int], NDArray[np.uint64]] = {}
        self.several_backings = len({e.backing for e in self.extents}) > 1

    def _limits_for(self, size_bytes: int, *, whole_ranges: bool) -> NDArray[np.uint64]:
        """For each slot the first address from which `size_bytes` no longer fit."""
        key = (whole_ranges, size_bytes)
        limits = self._limits.get(key)
        if limits is None:
            if len(self._limits) >= KEPT_SIZES:
                self._limits.clear()
            runs = self.ranges if whole_ranges else self.extents
            rows = [0] + [max(r.gpa, r.end_gpa - size_bytes + 1) for r in runs]
            limits = self._limits[key] = np.array(rows, np.uint64)
        return limits

    def contains(self, gpas: NDArray[np.uint64], size_bytes: int) -> NDArray[np.bool_]:
        """For each address, whether that many bytes from there are RAM."""
        slots = self._range_starts.searchsorted(gpas, "right")
        inside: NDArray[np.bool_] = gpas < self._limits_for(size_bytes, whole_ranges=True)[slots]
        return inside

    def places(
        self, gpas: NDArray[np.uint64], size_bytes: int
    ) -> tuple[NDArray[np.uint64], NDArray[np.bool_], NDArray[np.intp]]:
        """Place and slot of each address, and whether the row lies in one extent (else no place)."""
        slots = self._extent_starts.searchsorted(gpas, "right")
        inside = gpas < self._limits_for(size_bytes, whole_ranges=False)[slots]
        return gpas + self._moves[slots], inside, slots

    def backings(self, slots: NDArray[np.intp]) -> NDArray[np.intp]:
        """The backing of each slot that `places` gave."""
        return self._backings[slots]

    def pieces(self, gpa: int, size_bytes: int) -> list[tuple[Extent, int, int]]:
        """Split a read into (extent, place, size); PhysReadError where it is not all RAM."""
        index = bisect_right(self._first_gpas, gpa) - 1
        if index >= 0 and size_bytes >= 0:
            extent = self.extents[index]
            if gpa + size_bytes <= extent.end_gpa:
                return [(extent, extent.place + gpa - extent.gpa, size_bytes)]
        pieces: list[tuple[Extent, int, int]] = []
        at, left = gpa, size_bytes
        while left > 0 and 0 <= index < len(self.extents):
            extent = self.extents[index]
            if not extent.gpa <= at < extent.end_gpa:
                break
            size = min(left, extent.end_gpa - at)
            pieces.append((extent, extent.place + at - extent.gpa, size))
            at, left, index = at + size, left - size, index + 1
        if left != 0:
            raise PhysReadError(gpa, size_bytes)
        return pieces
