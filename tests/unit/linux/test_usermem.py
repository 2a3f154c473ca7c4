from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.build import HUGE, NX, PRESENT, USER, WRITABLE
from tests.unit.kernel.fuzz import WORD_VALUES, steady
from tests.unit.linux.files import Files
from tests.unit.linux.space import PAGE, Space, swap_entry
from vmon.core.address import Gva
from vmon.core.errors import BadStructure, GuestDataError, NotMapped, UsageError
from vmon.kernel.columns import Column
from vmon.linux.spans import State
from vmon.linux.usermem import PROT_NONE, VM_UFFD_MISSING, cached_pages

AT = 0x7F00_0000_0000
MASK = 0x000F_FFFF_FFFF_F000


def states(space: Space, pages: int = 1) -> list[str]:
    """The state of each page of the first area."""
    memory = space.memory()
    found: list[str] = []
    for spans in memory.spans(memory.areas[0]):
        for size, state in zip(spans.sizes.tolist(), spans.states.tolist(), strict=True):
            found += [State(state).name] * (size // PAGE)
    assert len(found) == pages
    return found


def test_pages_and_what_was_never_touched() -> None:
    space = Space()
    space.area(AT, 4)
    space.page(AT + PAGE, b"one" + bytes(PAGE - 6) + b"end")
    space.page(AT + 2 * PAGE, b"two")
    memory = space.memory()
    read = memory.read_memory(AT, 4 * PAGE)
    assert read == (bytes(PAGE) + b"one" + bytes(PAGE - 6) + b"end" + b"two" + bytes(PAGE - 3) + bytes(PAGE))
    assert (read.address, read.missing, read.coverage) == (AT, [], [])
    assert memory.read_memory(AT + 2 * PAGE - 3, 6) == b"endtwo"
    assert memory.read_memory(AT + 2 * PAGE, 3) == b"two"
    assert memory.read_memory(AT, 0) == b""
    assert states(space, 4) == ["ZERO", "THERE", "THERE", "ZERO"]


def test_what_may_not_be_accessed_is_there() -> None:
    space = Space()
    space.area(AT, 1, flags=0)
    frame = space.page(AT, b"hidden")
    # PROT_NONE: not present, and the frame number inverted.
    space.entry(AT, ~frame & MASK | PROT_NONE | NX)
    assert space.memory().read_memory(AT, 6) == b"hidden"
    assert states(space) == ["THERE"]


def test_a_large_page_that_is_being_split_is_there() -> None:
    space = Space()
    space.small.ram.extend(bytes(1 << 20))
    space.area(AT, 512)
    space.entry(AT, ~0 & MASK & ~0x1F_F000 | HUGE | USER, 2 << 20)
    assert states(space, 512) == ["THERE"] * 512
    space.small.ram[0x5000:0x5004] = b"deep"
    assert space.memory().read_memory(AT + 0x5000, 4) == b"deep"


@pytest.mark.parametrize(
    ("entry", "state", "reason"),
    [
        (swap_entry(0, 77), "SWAPPED", "swapped"),
        (swap_entry(1, 0), "SWAPPED", "swapped"),
        # There are two files of swap: type 2 is none.
        (swap_entry(2, 5), "MOVING", "torn"),
        (swap_entry(29, 0x12345), "MOVING", "torn"),
        (swap_entry(31, 4), "GUARD", "unreadable"),
        (swap_entry(31, 0x12345), "MOVING", "torn"),
        (0x7_0000_0000 | PRESENT | USER, "OUTSIDE", "unreadable"),
    ],
)
def test_what_is_not_there_is_told(entry: int, state: str, reason: str) -> None:
    space = Space()
    space.area(AT, 2)
    space.page(AT, b"x")
    space.entry(AT + PAGE, entry)
    assert states(space, 2) == ["THERE", state]
    read = space.memory().read_memory(AT, 2 * PAGE)
    assert read[PAGE:] == bytes(PAGE)
    assert [(part.address, part.size, part.reason) for part in read.missing] == [(AT + PAGE, PAGE, reason)]
    assert [(gap.what, gap.reason, gap.count) for gap in read.coverage] == [("memory", reason, 1)]


def test_a_large_page_that_is_not_all_ram_is_told() -> None:
    space = Space()
    space.area(AT, 512)
    space.entry(AT, PRESENT | HUGE | USER, 2 << 20)
    assert states(space, 512) == ["OUTSIDE"] * 512


def test_files_and_drivers_are_not_made_up() -> None:
    space = Space()
    space.area(AT, 1, file=space.small.alloc(64))
    assert states(space) == ["ABSENT"]
    driver = Space()
    driver.area(AT, 1, ops=0xFFFF_FFFF_8100_0040)
    assert states(driver) == ["ABSENT"]
    # Somebody else fills these when they are touched.
    user_faults = Space()
    user_faults.area(AT, 1, flags=0x3 | VM_UFFD_MISSING)
    assert states(user_faults) == ["ABSENT"]


def test_pages_of_a_file_that_nobody_maps_come_from_the_cache() -> None:
    space = Space()
    file = space.small.alloc(64)
    space.area(AT, 6, file=file, offset=10)
    space.page(AT + 2 * PAGE, b"mapped")
    frame = space._page()
    space.small.ram[frame : frame + 6] = b"cached"
    asked: list[tuple[int, int, int]] = []

    def cached(which: Gva, first: int, count: int) -> tuple[Column, Column]:
        asked.append((which, first, count))
        # One before and one behind what was asked for, as a liar might answer, and one that is mapped.
        pages = [first - 1, first + 1, first + 2, first + 4, first + count]
        return np.array(pages, dtype=np.uint64), np.full(5, frame, dtype=np.uint64)

    memory = space.memory(cached)
    read = memory.read_memory(AT, 6 * PAGE)
    assert asked == [(file, 10, 6)]
    assert [read[page * PAGE :][:6] for page in range(6)] == [
        bytes(6), b"cached", b"mapped", bytes(6), b"cached", bytes(6),
    ]  # fmt: skip
    assert [(part.address, part.size) for part in read.missing] == [
        (AT, PAGE), (AT + 3 * PAGE, PAGE), (AT + 5 * PAGE, PAGE),
    ]  # fmt: skip
    # A range that begins and ends within pages.
    asked.clear()
    read = memory.read_memory(AT + PAGE - 2, 5)
    assert asked == [(file, 10, 2)]
    assert (read, [(part.address, part.size) for part in read.missing]) == (b"\0\0cac", [(AT + PAGE - 2, 2)])
    read = memory.read_memory(AT + 4 * PAGE + 2, 3)
    # Page 14 is asked for alone, and is not what the answer is about.
    assert (read, [part.size for part in read.missing]) == (bytes(3), [3])


def test_a_file_that_is_cached_whole() -> None:
    space = Space()
    space.area(AT, 64, file=space.small.alloc(64))
    frame = space._page()
    space.small.ram[frame : frame + 2] = b"it"

    def cached(which: Gva, first: int, count: int) -> tuple[Column, Column]:
        return np.arange(first, first + count, dtype=np.uint64), np.full(count, frame, dtype=np.uint64)

    read = space.memory(cached).read_memory(AT + 1, 63 * PAGE)
    assert read == ((b"it" + bytes(PAGE - 2)) * 64)[1 : 63 * PAGE + 1]
    assert read.missing == []


def test_ranges_over_several_areas_and_none() -> None:
    space = Space()
    space.area(AT, 1)
    space.area(AT + 2 * PAGE, 1)
    space.page(AT, b"a" * PAGE)
    space.page(AT + 2 * PAGE, b"b" * PAGE)
    read = space.memory().read_memory(AT - 5, 3 * PAGE + 10)
    assert read == bytes(5) + b"a" * PAGE + bytes(PAGE) + b"b" * PAGE + bytes(5)
    assert [(part.address, part.size, part.detail) for part in read.missing] == [
        (AT - 5, 5, "no memory area there"),
        (AT + PAGE, PAGE, "no memory area there"),
        (AT + 3 * PAGE, 5, "no memory area there"),
    ]
    for address in (AT - 20, AT + PAGE, AT + 3 * PAGE, 0):
        with pytest.raises(NotMapped, match="no memory area"):
            space.memory().read_memory(address, 4)


def test_requests_that_make_no_sense() -> None:
    space = Space()
    space.area(AT, 1)
    memory = space.memory()
    for address, size in ((AT, -1), (AT, (1 << 30) + 1), ((1 << 64) - 1, 2), (-1, 5)):
        with pytest.raises(UsageError):
            memory.read_memory(address, size)


def test_large_ranges_come_in_pieces() -> None:
    space = Space()
    space.area(AT, 10_000)
    space.page(AT + 9000 * PAGE, b"far")
    pieces = list(space.memory().iter_memory(AT + 1, 9999 * PAGE))
    assert [len(piece) for piece in pieces] == [(16 << 20) - 1, 16 << 20, 9999 * PAGE - (32 << 20) + 1]
    assert b"".join(pieces).find(b"far") == 9000 * PAGE - 1
    assert [piece.address for piece in pieces] == [AT + 1, AT + (16 << 20), AT + (32 << 20)]


def test_frames_that_follow_each_other_are_one_span() -> None:
    space = Space()
    space.area(AT, 8)
    for page in range(8):
        space.entry(AT + page * PAGE, (page + (page > 4)) * PAGE | PRESENT | USER | WRITABLE)
    memory = space.memory()
    (spans,) = memory.spans(memory.areas[0])
    assert spans.sizes.tolist() == [5 * PAGE, 3 * PAGE]
    assert spans.gpas.tolist() == [0, 6 * PAGE]
    (spans,) = memory.spans(memory.areas[0], AT + PAGE + 7, AT + 2 * PAGE)
    assert (spans.gvas.tolist(), spans.sizes.tolist(), spans.gpas.tolist()) == (
        [AT + PAGE + 7], [PAGE - 7], [PAGE + 7],
    )  # fmt: skip


def test_an_area_of_all_addresses_costs_little() -> None:
    space = Space()
    space.area(PAGE, (1 << 35) - 2)
    space.page(AT, b"alone")
    memory = space.memory(calls_limit=60)
    sizes = [size for spans in memory.spans(memory.areas[0]) for size in spans.sizes.tolist()]
    assert sizes == [AT - PAGE, PAGE, (1 << 47) - PAGE - AT - PAGE]


def test_page_tables_that_are_not_there() -> None:
    space = Space()
    space.small.set(space.mm, "mm_struct", pgd=0xFFFF_C900_0000_0000)
    with pytest.raises(BadStructure, match="no page tables"):
        space.memory()


def test_tables_that_loop_are_counted_and_end() -> None:
    space = Space()
    space.area(PAGE, (1 << 35) - 2)
    for index in range(512):
        space.poke(space.root + 8 * index, space.root | PRESENT | USER)
    memory = space.memory()
    assert [spans.states.tolist() for spans in memory.spans(memory.areas[0])] == [[State.ZERO]]
    read = memory.read_memory(AT, 16)
    assert [(gap.reason, gap.count) for gap in read.coverage] == [("torn", 257)]
    # What was told is not told again.
    assert memory.read_memory(AT, 16).coverage[0].count == 1


def test_tables_outside_ram_are_told() -> None:
    space = Space()
    space.area(AT, 1)
    space.page(AT, b"x")
    for index in range(256):
        if space.peek(space.root + 8 * index):
            space.poke(space.root + 8 * index, 0x7_0000_0000 | PRESENT | USER)
    read = space.memory().read_memory(AT, PAGE)
    assert (read, [gap.reason for gap in read.coverage]) == (bytes(PAGE), ["torn"])


@steady(60)
@given(st.lists(st.tuples(st.integers(0, 511), st.integers(0, 3), WORD_VALUES), max_size=40))
def test_any_entries_are_read_or_told(words: list[tuple[int, int, int]]) -> None:
    space = Space()
    space.area(AT, 600)
    for page in range(4):
        space.page(AT + page * PAGE, b"x")
    tables = [space.root]
    for _ in range(3):
        entries = [space.peek(tables[-1] + 8 * index) for index in range(512)]
        tables.append(next(entry & MASK for entry in entries if entry & PRESENT))
    for index, level, value in words:
        space.poke(tables[level] + 8 * index, value)
    try:
        read = space.memory().read_memory(AT, 600 * PAGE)
    except GuestDataError:
        return
    assert len(read) == 600 * PAGE
    assert sum(part.size for part in read.missing) == PAGE * sum(
        gap.count for gap in read.coverage if not gap.detail.startswith("page tables")
    )


def test_a_profile_that_was_not_asked_for_the_page_cache() -> None:
    assert cached_pages(Space().small.kernel()) is None


def test_pages_of_a_file_by_its_page_cache() -> None:
    files = Files()
    node = files.inode()
    files.fill(node, b"".join(b"%4d" % index + bytes(PAGE - 4) for index in range(9)), without=[3])
    file, nothing = files.file(node), files.small.alloc(64)
    find = cached_pages(files.kernel())
    assert find is not None
    indexes, frames = find(file, 2, 4)
    assert set(indexes.tolist()) >= {2, 4, 5} and 3 not in indexes.tolist()
    for index, frame in zip(indexes.tolist(), frames.tolist(), strict=True):
        assert files.small.ram[frame : frame + 4] == b"%4d" % index
    # Files that are not there, or no files.
    for wild in (0, 0xFFFF_FE00_0000_0000, 0x1234, nothing):
        assert [column.tolist() for column in find(Gva(wild), 0, 100)] == [[], []]
