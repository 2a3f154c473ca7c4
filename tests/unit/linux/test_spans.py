from __future__ import annotations

import numpy as np
import pytest

from tests.unit.linux.small import PAGE_OFFSET, Small
from vmon.core.coverage import Gaps
from vmon.kernel.columns import Column
from vmon.kernel.profile import Wants
from vmon.linux.spans import Spans, State, clipped, copy_frames, joined, lacking, merged, part_of, tell

PAGE = 4096


def column(*values: int) -> Column:
    return np.array(values, dtype=np.uint64)


def states(*values: State) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.array(values, dtype=np.uint8)


def test_neighbours_that_continue_each_other_are_one() -> None:
    there, swapped = State.THERE, State.SWAPPED
    spans = merged(
        column(0, 10, 20, 30, 40, 50),
        column(10, 20, 30, 40, 50, 60),
        column(100, 110, 7, 0, 0, 17),
        states(there, there, there, swapped, swapped, there),
    )
    assert (spans.gvas.tolist(), spans.sizes.tolist(), spans.gpas.tolist()) == (
        [0, 20, 30, 50], [20, 10, 20, 10], [100, 7, 0, 17],
    )  # fmt: skip
    assert lacking(spans) == [(30, 50, swapped)]
    both = joined(joined(None, part_of(spans, 0, 1)), part_of(spans, 2, 4))
    assert (both.gvas.tolist(), both.states.tolist()) == ([0, 30, 50], [there, swapped, there])


@pytest.mark.parametrize("shift", [0, 5])
def test_frames_of_every_size_are_put_where_they_belong(shift: int) -> None:
    small = Small(Wants(), {}, {})
    pages = [small.alloc(PAGE, PAGE) for _ in range(4)]
    for number, page in enumerate(pages):
        small.write(page, b"%d" % number * PAGE)
    data = bytearray(shift + 5 * PAGE)
    frames = column(*(page - PAGE_OFFSET for page in pages))
    # A single page, two that follow each other, and the end of one.
    places = column(shift + 3 * PAGE, shift, shift + 2 * PAGE + 10, shift + 4 * PAGE)
    copy_frames(
        small.kernel(), data, places, column(int(frames[0]), int(frames[1]), int(frames[3]) + 5, int(frames[3])),
        column(PAGE, 2 * PAGE, 20, PAGE),
    )  # fmt: skip
    assert data[shift:] == (
        b"1" * PAGE + b"2" * PAGE + bytes(10) + b"3" * 20 + bytes(PAGE - 30) + b"0" * PAGE + b"3" * PAGE
    )


def test_parts_of_pages_are_counted_as_pages() -> None:
    gaps = Gaps()
    tell(gaps, "memory", [(0, 1, State.SWAPPED), (0, 4097, State.SWAPPED), (5, 6, State.ABSENT)])
    assert [(gap.reason, gap.count) for gap in gaps.records()] == [("swapped", 3), ("not resident", 1)]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 100, [(10, 10, 510), (20, 5, 0), (25, 10, 925)]),
        (12, 18, [(12, 6, 512)]),
        (19, 26, [(19, 1, 519), (20, 5, 0), (25, 1, 925)]),
        (25, 35, [(25, 10, 925)]),
    ],
)
def test_parts_of_spans(start: int, end: int, expected: list[tuple[int, int, int]]) -> None:
    kinds = states(State.THERE, State.ZERO, State.THERE)
    part = clipped(Spans(column(10, 20, 25), column(10, 5, 10), column(510, 0, 925), kinds), start, end)
    assert list(zip(part.gvas.tolist(), part.sizes.tolist(), part.gpas.tolist(), strict=True)) == expected
