"""Memory that hangs together is handed out in windows that overlap, so that what is searched is not cut in two.

Reads the spans of vmon.linux.usermem and copies frames. Small holes are filled with zeros, so that the parts of one
program keep their distances; a wide one ends a window. A hostile guest can map more than it has: what one process is
searched for is bounded by the caller's budget, and told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vmon.core.coverage import Gaps
from vmon.linux.kernel import Kernel
from vmon.linux.spans import Spans, State, clipped, copy_frames, joined, lacking, part_of, tell_lacking
from vmon.linux.usermem import Area, UserMemory

WINDOW_BYTES = 32 << 20
JOIN_BYTES = 1 << 20
"""Holes up to this size are filled with zeros."""


@dataclass(frozen=True, slots=True)
class Window:
    """A piece of memory without wide holes."""

    base: int
    """Address of the first byte."""
    data: bytes
    own_bytes: int
    """What begins behind them begins in the next window, too."""
    missing: tuple[tuple[int, int], ...]
    """Addresses (start, end) of what is not known: zeros stand there."""

    def knows(self, address: int, size_bytes: int) -> bool:
        """Whether all of it was read."""
        return not any(start < address + size_bytes and end > address for start, end in self.missing)


class Budget:
    """How many bytes may still be read."""

    def __init__(self, left_bytes: int) -> None:
        self.left_bytes = left_bytes

    def take(self, size_bytes: int) -> bool:
        """Whether there is so much left; then it is taken."""
        if size_bytes > self.left_bytes:
            return False
        self.left_bytes -= size_bytes
        return True


def join_areas(areas: Sequence[Area]) -> list[list[Area]]:
    """Neighbours that map one file, as a loaded program does, are searched as one."""
    groups: list[list[Area]] = []
    for area in areas:
        last = groups[-1][-1] if groups else None
        if last is not None and area.file and last.file == area.file and last.end == area.start:
            groups[-1].append(area)
        else:
            groups.append([area])
    return groups


def iter_windows(
    kernel: Kernel,
    memory: UserMemory,
    areas: Sequence[Area],
    gaps: Gaps,
    budget: Budget,
    *,
    window_bytes: int = WINDOW_BYTES,
    overlap_bytes: int = 0,
) -> Iterator[Window]:
    """What is in memory of areas that adjoin, by rising address; what is not is counted in `gaps`."""
    cut = _Cutter(kernel, gaps, budget, window_bytes, overlap_bytes)
    for area in areas:
        for spans in memory.spans(area):
            tell_lacking(gaps, spans)
            yield from cut.add(spans)
        memory.tell_tables(gaps)
    yield from cut.end()


class _Cutter:
    def __init__(
        self, kernel: Kernel, gaps: Gaps, budget: Budget, window_bytes: int, overlap_bytes: int
    ) -> None:
        self._kernel = kernel
        self._gaps = gaps
        self._budget = budget
        self._window = window_bytes
        self._overlap = overlap_bytes
        self._held: Spans | None = None

    def add(self, spans: Spans) -> Iterator[Window]:
        spans = joined(self._held, spans)
        self._held = None
        wide = (spans.states != State.THERE) & (spans.sizes > np.uint64(JOIN_BYTES))
        at = 0
        for stop in [*np.flatnonzero(wide).tolist(), spans.gvas.size]:
            if stop > at:
                last = stop == spans.gvas.size
                yield from self._cut(part_of(spans, at, stop), final=not last)
            at = stop + 1

    def end(self) -> Iterator[Window]:
        if self._held is not None:
            held, self._held = self._held, None
            yield from self._cut(held, final=True)

    def _cut(self, spans: Spans, *, final: bool) -> Iterator[Window]:
        """Windows of one run; what is too short to be one waits for what follows, unless it is the end."""
        there = np.flatnonzero(spans.states == State.THERE)
        if not there.size:
            return
        spans = part_of(spans, int(there[0]), int(there[-1]) + 1 if final else spans.gvas.size)
        base, end = int(spans.gvas[0]), int(spans.gvas[-1] + spans.sizes[-1])
        whole = self._window + self._overlap
        while base < end:
            size = min(end - base, whole)
            if not final and end - base <= whole:
                self._held = clipped(spans, base, end)
                return
            own = size if base + size == end and final else self._window
            if self._budget.take(size):
                yield self._made(clipped(spans, base, base + size), base, size, own)
            else:
                self._gaps.add("memory", "bounded", "more than the guest has RAM", size // 4096)
            base += own

    def _made(self, spans: Spans, base: int, size: int, own: int) -> Window:
        data = bytearray(size)
        there = spans.states == State.THERE
        places = spans.gvas[there] - np.uint64(base)
        copy_frames(self._kernel, data, places, spans.gpas[there], spans.sizes[there])
        missing = tuple((start, end) for start, end, _ in lacking(spans))
        return Window(base, bytes(data), own, missing)
