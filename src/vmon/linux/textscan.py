"""Printable texts are long runs of printable bytes: ASCII, and UTF-16 of ASCII, found by whole arrays at a time.

Pure but for the windows that it is given. A hostile guest can fill its memory with text: each is cut at 4096
characters, and the caller takes as many as it wants. Source: the rules of binutils' strings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from vmon.linux.windows import Window

MAX_TEXT_CHARS = 4096
OVERLAP_BYTES = 2 * MAX_TEXT_CHARS
ENCODINGS = ("ascii", "utf-16-le")
Flags = NDArray[np.bool_]


def iter_texts(
    windows: Iterable[Window], least_chars: int = 4, *, wide: bool = True
) -> Iterator[tuple[int, str, bytes]]:
    """Address, encoding and bytes (of ASCII) of each text of at least `least_chars` characters.

    Windows of one area, by rising address, that overlap by OVERLAP_BYTES. ASCII before UTF-16 within a window.
    """
    done = dict.fromkeys(ENCODINGS[: 1 + wide], 0)
    for window in windows:
        for encoding in done:
            at = max(done[encoding] - window.base, 0)
            step = 1 if encoding == "ascii" else 2
            for start, end in _texts(window, at, least_chars, step):
                yield window.base + start, encoding, window.data[start:end:step]
                at = end
            done[encoding] = window.base + at


def _texts(window: Window, at: int, least: int, step: int) -> Iterator[tuple[int, int]]:
    """Where texts start and end that begin from `at` on and among the window's own bytes."""
    data = np.frombuffer(window.data, dtype=np.uint8)[at:]
    flags = (data >= 0x20) & (data <= 0x7E)
    flags |= data == 0x09
    if step == 1:
        starts, ends = runs(flags, least)
    else:
        # A character and a zero byte after it, at even and at odd places: no text is at both.
        pairs = flags[:-1] & (data[1:] == 0)
        found = [(place, *runs(pairs[place::2], least)) for place in (0, 1)]
        starts = np.concatenate([2 * first + place for place, first, _ in found])
        ends = np.concatenate([2 * last + place for place, _, last in found])
        order = np.argsort(starts, kind="stable")
        starts, ends = starts[order], ends[order]
    own = window.own_bytes
    longest = MAX_TEXT_CHARS * step
    for start, end in zip((starts + at).tolist(), (ends + at).tolist(), strict=True):
        for piece in range(start, end, longest):
            if piece >= own:
                return
            stop = min(piece + longest, end)
            if stop - piece >= least * step:
                yield piece, stop


def runs(flags: Flags, least: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Start and end of each run of at least `least` flags that are set."""
    if flags.size < least:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    # Whether `least` flags are set from each place on, by doubling: what is no text is gone after few passes.
    whole, width = flags, 1
    while width < least:
        shift = min(width, least - width)
        whole = whole[:-shift] & whole[shift:]
        width += shift
    before = np.concatenate(([False], flags[: whole.size - 1]))
    after = np.concatenate((flags[least:], [False]))
    return np.flatnonzero(whole & ~before), np.flatnonzero(whole & ~after) + least
