"""The pages of a whole range are found by reading whole tables: 512 entries in one read, empty ones dropped at once.

Reads page-table entries through the ReadPhys port that it is given. Honest tables are a tree: a table that was met
before is left out and counted, so a hostile guest gets at most one visit of each page of its RAM. When the guest
changes a table meanwhile, the old or the new entry is seen.
Source: Intel SDM vol. 3A 4.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vmon.arch.x86_64.paging import (
    FRAME_MASK,
    INDEX_MASK,
    PAGE_SIZE_BIT,
    PRESENT,
    ROOT_MASK,
    Level,
    levels_for,
)
from vmon.core.address import PAGE_SIZE_BYTES, Gpa
from vmon.core.ports import ReadPhys

ENTRIES = 512
TABLES_AT_ONCE = 8
"""Page directories (1 GiB each) whose tables are read together: at most 16 MiB of entries."""
Words = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Leaves:
    """Entries of a range that are not empty and lead to no further table, by rising address."""

    gvas: Words
    """Where the page starts, also where that is below the range asked for."""
    sizes: Words
    """Bytes: 4 KiB, 2 MiB, 1 GiB; an entry that is not present has the size of its level."""
    entries: Words
    """As they lie in the table, not present ones included."""


class RangeWalk:
    """Walks a range of addresses under one root; a range is of one half, that of processes or that of the kernel."""

    def __init__(self, phys: ReadPhys, root: Gpa, la57: bool) -> None:
        self._phys = phys
        self._root = root & ROOT_MASK
        self._levels = levels_for(la57)
        self._seen: set[int] = set()
        self.repeated = 0
        """Tables left out because they were met before: none in honest page tables that stand still."""
        self.outside = 0
        """Tables left out because they are not in RAM."""

    def leaves(self, start: int, end: int) -> Iterator[Leaves]:
        """What is not empty, in pieces of at most 8 GiB of addresses. Microseconds where there is nothing.

        A range that starts in the half of processes ends with it.
        """
        self._seen = {self._root}
        half = ENTRIES // 2 << self._levels[0].shift
        # The kernel's half follows in the table; its addresses have all bits above set.
        above = (1 << 64) - 2 * half if start >= 1 << 63 else 0
        start, last = start - above, min(end - above, 2 * half if above else half) - 1
        if not 0 <= start <= last:
            return
        tables = np.array([self._root], dtype=np.uint64)
        for found in self._below(0, tables, np.zeros(1, dtype=np.uint64), start, last):
            yield Leaves(found.gvas + np.uint64(above), found.sizes, found.entries) if above else found

    def _below(self, depth: int, tables: Words, bases: Words, start: int, last: int) -> Iterator[Leaves]:
        level = self._levels[depth]
        gvas, entries = self._entries(level, tables, bases, start, last)
        leaf = is_leaf(level, entries)
        if level.shift == 12 or leaf.all():
            if gvas.size:
                yield Leaves(gvas, np.full(gvas.shape, 1 << level.shift, dtype=np.uint64), entries)
            return
        if level.shift == 21:
            # All page tables of some directories at once, put back among the large pages between them.
            small = list(self._children(depth, gvas[~leaf], entries[~leaf], start, last))
            parts = [
                Leaves(gvas[leaf], np.full(int(leaf.sum()), 1 << 21, dtype=np.uint64), entries[leaf]),
                *small,
            ]
            parts = [part for part in parts if part.gvas.size]
            if parts:
                yield _merged(parts)
            return
        # Larger levels have few entries: in order, some at a time.
        step = TABLES_AT_ONCE if level.shift == 30 else 1
        at = 0
        while at < gvas.size:
            stop = at + 1
            while stop < gvas.size and stop - at < step and leaf[stop] == leaf[at]:
                stop += 1
            if leaf[at]:
                sizes = np.full(stop - at, 1 << level.shift, dtype=np.uint64)
                yield Leaves(gvas[at:stop], sizes, entries[at:stop])
            else:
                yield from self._children(depth, gvas[at:stop], entries[at:stop], start, last)
            at = stop

    def _children(self, depth: int, gvas: Words, entries: Words, start: int, last: int) -> Iterator[Leaves]:
        tables = entries & np.uint64(FRAME_MASK)
        inside = self._phys.contains(tables, PAGE_SIZE_BYTES)
        self.outside += int((~inside).sum())
        fresh = []
        for place, table in enumerate(tables.tolist()):
            if not inside[place]:
                continue
            if table in self._seen:
                self.repeated += 1
                continue
            self._seen.add(table)
            fresh.append(place)
        if fresh:
            yield from self._below(depth + 1, tables[fresh], gvas[fresh], start, last)

    def _entries(
        self, level: Level, tables: Words, bases: Words, start: int, last: int
    ) -> tuple[Words, Words]:
        """The entries that are not empty, and where the page or table of each starts."""
        shift = np.uint64(level.shift)
        if tables.size == 1:
            # One table: only the entries of the range, which for a short range are few.
            base = int(bases[0])
            low = max(start - base, 0) >> level.shift
            high = min((last - base) >> level.shift, INDEX_MASK)
            words = (
                self._phys.gather(tables + np.uint64(8 * low), 8 * (high - low + 1)).view("<u8").reshape(-1)
            )
            used = np.flatnonzero(words).astype(np.uint64)
            return (used + np.uint64(low) << shift) + np.uint64(base), words[used.view(np.int64)]
        words = self._phys.gather(tables, PAGE_SIZE_BYTES).view("<u8")
        row, column = np.nonzero(words)
        gvas = bases[row] + (column.astype(np.uint64) << shift)
        entries = words[row, column]
        if gvas.size and (int(gvas[0]) + (1 << level.shift) <= start or int(gvas[-1]) > last):
            keep = (gvas + np.uint64((1 << level.shift) - 1) >= np.uint64(start)) & (gvas <= np.uint64(last))
            return gvas[keep], entries[keep]
        return gvas, entries


def is_leaf(level: Level, entries: Words) -> NDArray[np.bool_]:
    """Whether an entry ends the walk: a page, or not present."""
    if level.shift == 12:
        return np.ones(entries.shape, dtype=bool)
    absent: NDArray[np.bool_] = (entries & np.uint64(PRESENT)) == 0
    if level.leaf_allowed:
        absent |= (entries & np.uint64(PAGE_SIZE_BIT)) != 0
    return absent


def _merged(parts: list[Leaves]) -> Leaves:
    if len(parts) == 1:
        return parts[0]
    gvas = np.concatenate([part.gvas for part in parts])
    order = np.argsort(gvas, kind="stable")
    sizes = np.concatenate([part.sizes for part in parts])[order]
    return Leaves(gvas[order], sizes, np.concatenate([part.entries for part in parts])[order])
