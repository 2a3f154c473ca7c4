"""A range of a process's memory as spans: columns of where, how long, which frames, and why not.

Pure but for copying frames through the ReadPhys port of a kernel. That every frame is in RAM was looked at by who made
the spans. What a guest unplugs meanwhile ends in a PhysReadError.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from vmon.core.address import PAGE_SIZE_BYTES, Gpa
from vmon.core.coverage import Gaps, Reason
from vmon.kernel.columns import Column
from vmon.linux.kernel import Kernel

PAGES_AT_ONCE = 1024
RUN_BYTES = 4 << 20
"""What is copied at a time: as much as a cache holds."""


class State(IntEnum):
    """What is at an address."""

    THERE = 0
    ZERO = 1
    """Private memory that was never touched: the process would read zeros."""
    ABSENT = 2
    SWAPPED = 3
    MOVING = 4
    GUARD = 5
    OUTSIDE = 6
    NO_AREA = 7


WHY: dict[State, tuple[Reason, str]] = {
    State.ABSENT: ("not resident", "pages of files or shared memory, not read in"),
    State.SWAPPED: ("swapped", ""),
    State.MOVING: ("torn", "pages that the guest was moving"),
    State.GUARD: ("unreadable", "guard pages"),
    State.OUTSIDE: ("unreadable", "pages of devices, outside RAM"),
    State.NO_AREA: ("unreadable", "no memory area there"),
}


@dataclass(frozen=True, slots=True)
class Spans:
    """A range without holes in it, as columns by rising address; neighbours that continue each other are one."""

    gvas: Column
    sizes: Column
    gpas: Column
    """NOT_MAPPED where there is none."""
    states: NDArray[np.uint8]


def merged(starts: Column, ends: Column, gpas: Column, states: NDArray[np.uint8]) -> Spans:
    """Spans of pieces by rising address; neighbours that continue each other become one."""
    if starts.size > 1:
        follows = starts[1:] == ends[:-1]
        follows &= states[1:] == states[:-1]
        there = states[1:] == State.THERE
        follows &= ~there | (gpas[1:] == gpas[:-1] + (ends[:-1] - starts[:-1]))
        first = np.flatnonzero(np.concatenate(([True], ~follows)))
        last = np.concatenate((first[1:], [starts.size])) - 1
        starts, ends, gpas, states = starts[first], ends[last], gpas[first], states[first]
    return Spans(starts, ends - starts, gpas, states)


def part_of(spans: Spans, low: int, high: int) -> Spans:
    """Rows `low` to `high` of spans."""
    return Spans(spans.gvas[low:high], spans.sizes[low:high], spans.gpas[low:high], spans.states[low:high])


def lacking(spans: Spans) -> list[tuple[int, int, State]]:
    """Where (start, end) spans have no bytes that are known, and why."""
    rows = (spans.states != State.THERE) & (spans.states != State.ZERO)
    starts = spans.gvas[rows]
    ends = (starts + spans.sizes[rows]).tolist()
    return list(zip(starts.tolist(), ends, map(State, spans.states[rows].tolist()), strict=True))


def tell_lacking(gaps: Gaps, spans: Spans) -> None:
    """Count the pages of memory that are missing from spans, by reason."""
    tell(gaps, "memory", lacking(spans))


def clipped(spans: Spans, start: int, end: int) -> Spans:
    """The part of spans that lies in [start, end)."""
    low = int(np.searchsorted(spans.gvas, np.uint64(start), side="right")) - 1
    high = int(np.searchsorted(spans.gvas, np.uint64(end), side="left"))
    part = part_of(spans, max(low, 0), high)
    starts = np.maximum(part.gvas, np.uint64(start))
    ends = np.minimum(part.gvas + part.sizes, np.uint64(end))
    moved = np.where(part.states == State.THERE, part.gpas + (starts - part.gvas), part.gpas)
    return Spans(starts, ends - starts, moved, part.states)


def joined(first: Spans | None, second: Spans) -> Spans:
    """The one, then the other."""
    if first is None:
        return second
    return Spans(
        np.concatenate((first.gvas, second.gvas)),
        np.concatenate((first.sizes, second.sizes)),
        np.concatenate((first.gpas, second.gpas)),
        np.concatenate((first.states, second.states)),
    )


def copy_frames(kernel: Kernel, data: bytearray, places: Column, gpas: Column, sizes: Column) -> None:
    """Guest-physical runs into places of a buffer: single pages by gathers, what is longer or shorter by itself."""
    target = np.frombuffer(data, dtype=np.uint8)
    phys = kernel.memory.phys
    single = sizes == np.uint64(PAGE_SIZE_BYTES)
    rows = np.flatnonzero(single)
    for first in range(0, rows.size, PAGES_AT_ONCE):
        some = rows[first : first + PAGES_AT_ONCE]
        pages = phys.gather(gpas[some], PAGE_SIZE_BYTES)
        at = places[some].astype(np.int64)
        # All begin at one place of a page: one assignment moves them.
        shift = int(at[0] % PAGE_SIZE_BYTES)
        whole = (target.size - shift) // PAGE_SIZE_BYTES
        grid = target[shift : shift + whole * PAGE_SIZE_BYTES].reshape(-1, PAGE_SIZE_BYTES)
        grid[(at - shift) // PAGE_SIZE_BYTES] = pages
    rest = np.flatnonzero(~single)
    for place, gpa, size in zip(
        places[rest].tolist(), gpas[rest].tolist(), sizes[rest].tolist(), strict=True
    ):
        for done in range(0, size, RUN_BYTES):
            step = min(RUN_BYTES, size - done)
            piece = np.frombuffer(phys.read(Gpa(gpa + done), step), dtype=np.uint8)
            target[place + done : place + done + step] = piece


def tell(gaps: Gaps, what: str, missing: list[tuple[int, int, State]]) -> None:
    """Count the pages that are missing, by reason."""
    for start, end, state in missing:
        reason, detail = WHY[state]
        gaps.add(what, reason, detail, (end - start + PAGE_SIZE_BYTES - 1) // PAGE_SIZE_BYTES)
