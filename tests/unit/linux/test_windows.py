from __future__ import annotations

from tests.unit.kernel.build import PRESENT, USER
from tests.unit.linux.space import PAGE, Space, swap_entry
from vmon.core.coverage import Gaps
from vmon.linux.usermem import Area
from vmon.linux.windows import JOIN_BYTES, Budget, Window, iter_windows, join_areas

AT = 0x7F00_0000_0000


def windows(
    space: Space, gaps: Gaps | None = None, budget: int = 1 << 40, window: int = 1 << 30, overlap: int = 0
) -> list[Window]:
    memory = space.memory()
    found: list[Window] = []
    for areas in join_areas(memory.areas):
        found += iter_windows(
            space.small.kernel(),
            memory,
            areas,
            gaps or Gaps(),
            Budget(budget),
            window_bytes=window,
            overlap_bytes=overlap,
        )
    return found


def test_pages_that_follow_each_other_are_one_window() -> None:
    space = Space()
    space.area(AT, 10)
    for page in (2, 3, 5):
        space.page(AT + page * PAGE, b"%d" % page * PAGE)
    (window,) = windows(space)
    assert (window.base, window.own_bytes, window.missing) == (AT + 2 * PAGE, 4 * PAGE, ())
    # What was never touched between them are zeros, which is what the process would read.
    assert window.data == b"2" * PAGE + b"3" * PAGE + bytes(PAGE) + b"5" * PAGE


def test_what_lacks_is_zeros_and_told() -> None:
    space, gaps = Space(), Gaps()
    space.area(AT, 4)
    space.page(AT, b"a" * PAGE)
    space.entry(AT + PAGE, swap_entry(0, 3))
    space.page(AT + 2 * PAGE, b"b" * PAGE)
    (window,) = windows(space, gaps)
    assert window.data == b"a" * PAGE + bytes(PAGE) + b"b" * PAGE
    assert window.missing == ((AT + PAGE, AT + 2 * PAGE),)
    assert window.knows(AT, PAGE)
    assert window.knows(AT + 2 * PAGE, PAGE)
    assert not window.knows(AT + PAGE - 1, 2)
    assert not window.knows(AT, 3 * PAGE)
    assert [(gap.reason, gap.count) for gap in gaps.records()] == [("swapped", 1)]


def test_a_wide_hole_ends_a_window() -> None:
    space = Space()
    pages = JOIN_BYTES // PAGE
    space.area(AT, 3 * pages)
    for page in (0, pages + 1, 2 * pages + 3):
        space.page(AT + page * PAGE, b"x")
    assert [(window.base - AT, len(window.data)) for window in windows(space)] == [
        (0, (pages + 2) * PAGE),
        ((2 * pages + 3) * PAGE, PAGE),
    ]


def test_windows_overlap_and_their_own_bytes_do_not() -> None:
    space = Space()
    space.area(AT, 5)
    data = bytes(range(256)) * (5 * PAGE // 256)
    for page in range(5):
        space.page(AT + page * PAGE, data[page * PAGE : (page + 1) * PAGE])
    found = windows(space, window=2 * PAGE, overlap=100)
    assert [(window.base - AT, len(window.data), window.own_bytes) for window in found] == [
        (0, 2 * PAGE + 100, 2 * PAGE),
        (2 * PAGE, 2 * PAGE + 100, 2 * PAGE),
        (4 * PAGE, PAGE, PAGE),
    ]
    assert b"".join(window.data[: window.own_bytes] for window in found) == data
    # The last window that the overlap fills is the end of it.
    assert [len(window.data) for window in windows(space, window=4 * PAGE, overlap=PAGE)] == [5 * PAGE]


def test_areas_of_one_file_are_one_window_and_others_not() -> None:
    space = Space()
    for number, file in enumerate((0x9000, 0x9000, 0, 0)):
        space.area(AT + number * PAGE, 1, file=file)
        space.page(AT + number * PAGE, b"%d" % number)
    assert [len(window.data) // PAGE for window in windows(space)] == [2, 1, 1]
    apart = [Area(AT, AT + PAGE, 0, 1, 0, False), Area(AT + 2 * PAGE, AT + 3 * PAGE, 0, 1, 0, False)]  # type: ignore[arg-type]
    assert len(join_areas(apart)) == 2


def test_a_run_over_the_border_of_8_gib_is_one_window() -> None:
    border = 0x7F00_0000_0000 + (8 << 30)
    space = Space()
    space.area(border - 2 * PAGE, 4)
    for page in range(4):
        space.page(border + (page - 2) * PAGE, b"%d" % page * PAGE)
    assert [window.data for window in windows(space)] == [b"".join(b"%d" % page * PAGE for page in range(4))]
    found = windows(space, window=PAGE, overlap=PAGE)
    assert b"".join(window.data[: window.own_bytes] for window in found) == b"".join(
        b"%d" % page * PAGE for page in range(4)
    )


def test_more_than_the_budget_is_told() -> None:
    space, gaps = Space(), Gaps()
    space.area(AT, 4)
    for page in range(4):
        space.entry(AT + page * PAGE, space.root | PRESENT | USER)
    assert len(windows(space, gaps, budget=2 * PAGE + 1, window=PAGE)) == 2
    assert [(gap.reason, gap.count) for gap in gaps.records()] == [("bounded", 2)]
    budget = Budget(5)
    assert [budget.take(size) for size in (3, 3, 2, 1)] == [True, False, True, False]


def test_nothing_there_is_no_window() -> None:
    space = Space()
    space.area(AT, 4)
    space.area(AT + 8 * PAGE, 4, file=0x9000)
    gaps = Gaps()
    assert windows(space, gaps) == []
    assert [(gap.reason, gap.count) for gap in gaps.records()] == [("not resident", 4)]
