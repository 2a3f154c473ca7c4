from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.arch.x86_64.test_paging import BASE, GIB, LA57, MIB2, PAGES, Tables
from tests.unit.kernel.build import HUGE, PRESENT
from tests.unit.kernel.fuzz import WORD_VALUES, steady
from vmon.arch.x86_64.paging import levels_for, translate
from vmon.arch.x86_64.ranges import RangeWalk, is_leaf
from vmon.core.address import Gpa, Gva

TOP = 1 << 47


def found(tables: Tables, start: int, end: int) -> list[tuple[int, int, int]]:
    """(address, size, entry without its flags) of all that the walk gives."""
    walk = RangeWalk(tables.ram, Gpa(BASE), tables.la57)
    result: list[tuple[int, int, int]] = []
    for leaves in walk.leaves(start, end):
        assert leaves.gvas.size
        rows = zip(leaves.gvas.tolist(), leaves.sizes.tolist(), leaves.entries.tolist(), strict=True)
        result += [(gva, size, entry & ~0xFFF) for gva, size, entry in rows]
    assert result == sorted(result)
    return result


@LA57
def test_pages_of_every_size_in_order(la57: bool) -> None:
    tables = Tables(la57)
    made = [
        (0x40_0000, 0x5000, 4096),
        (0x40_1000, 0x9000, 4096),
        (0x60_0000, MIB2, MIB2),
        (0x80_0000, 0x7000, 4096),
        (3 * GIB, 5 * GIB, GIB),
        (0x7FFF_FFFF_F000, 0x8000, 4096),
    ]
    for gva, gpa, size in made:
        tables.tables.map(gva, gpa, size)
    expected = [(gva, size, gpa) for gva, gpa, size in made]
    assert found(tables, 0, TOP) == expected
    # Only what the range touches, and large pages whole.
    assert found(tables, 0x40_1000, 0x40_2000) == expected[1:2]
    assert found(tables, 0x60_3000, 0x60_4000) == expected[2:3]
    assert found(tables, 0x40_1FFF, 0x80_0001) == expected[1:4]
    assert found(tables, 3 * GIB + 5, TOP) == expected[4:]
    assert found(tables, 0x40_2000, 0x60_0000) == []
    assert found(tables, 5, 5) == []


@LA57
def test_each_half_is_walked_by_itself(la57: bool) -> None:
    tables = Tables(la57)
    tables.tables.map(0xFFFF_8880_0000_0000, 0x5000)
    assert found(tables, 0, 1 << 64) == []
    page = 0xFFFF_8880_0000_0000
    assert found(tables, page, page + 1) == [(page, 4096, 0x5000)]
    assert found(tables, 1 << 63, 1 << 64) == []  # no canonical address
    start = 0xFF00_0000_0000_0000 if la57 else 0xFFFF_8000_0000_0000
    assert found(tables, start, 1 << 64) == [(page, 4096, 0x5000)]


def test_entries_that_are_not_present_are_given_as_they_are() -> None:
    tables = Tables(False)
    place = tables.tables.map(0x40_0000, 0x5000)
    tables.poke(place, 0x1234_5000)
    directory = tables.tables.map(0x60_0000, MIB2, MIB2)
    tables.poke(directory, 0x77 << 21 | HUGE)
    assert found(tables, 0, TOP) == [(0x40_0000, 4096, 0x1234_5000), (0x60_0000, MIB2, 0x77 << 21)]


def test_tables_that_run_into_themselves_end() -> None:
    tables = Tables(False)
    for index in range(512):
        tables.poke(BASE + 8 * index, BASE | PRESENT)
    walk = RangeWalk(tables.ram, Gpa(BASE), False)
    assert list(walk.leaves(0, TOP)) == []
    assert walk.repeated == 256
    # A second root, whose entries all lead to one table, which leads to itself: met once.
    for index in range(512):
        tables.poke(BASE + 8 * index, BASE + 4096 | PRESENT)
        tables.poke(BASE + 4096 + 8 * index, BASE + 8192 | PRESENT)
        tables.poke(BASE + 8192 + 8 * index, BASE + 4096 | PRESENT)
    walk = RangeWalk(tables.ram, Gpa(BASE), False)
    list(walk.leaves(0, TOP))
    assert walk.repeated == 255 + 511 + 512
    assert tables.ram.calls < 2000


def test_tables_outside_ram_are_counted() -> None:
    tables = Tables(False)
    for index in range(256):
        tables.poke(BASE + 8 * index, 0x7_0000_0000 + 4096 * index | PRESENT)
    walk = RangeWalk(tables.ram, Gpa(BASE), False)
    assert list(walk.leaves(0, TOP)) == []
    assert walk.outside == 256
    assert list(RangeWalk(tables.ram, Gpa(0x7_0000_0000), False).leaves(0, TOP)) == []


def test_what_ends_a_walk() -> None:
    *upper, directory, table = levels_for(False)
    entries = np.array([0, PRESENT, PRESENT | HUGE, HUGE, 2], dtype=np.uint64)
    assert is_leaf(table, entries).all()
    assert is_leaf(directory, entries).tolist() == [True, False, True, True, True]
    assert is_leaf(upper[0], entries).tolist() == [True, False, False, True, True]


@steady(60)
@given(
    words=st.lists(st.tuples(st.integers(0, PAGES * 512 - 1), WORD_VALUES), max_size=60),
    starts=st.lists(st.integers(0, TOP - 1), max_size=3),
)
def test_any_tables_agree_with_the_one_address_walk(words: list[tuple[int, int]], starts: list[int]) -> None:
    tables = Tables(False)
    for gva in (0x40_0000, 0x60_0000, GIB):
        tables.tables.map(gva, BASE)
    for place, value in words:
        tables.poke(BASE + 8 * place, value)
    for start in [0x40_0000, *starts]:
        walk = RangeWalk(tables.ram, Gpa(BASE), False)
        for leaves in walk.leaves(start, start + 4096):
            for gva, size, entry in zip(
                leaves.gvas.tolist(), leaves.sizes.tolist(), leaves.entries.tolist(), strict=True
            ):
                single = translate(tables.ram, Gpa(BASE), Gva(max(gva, start)), False)
                assert (single is not None) == bool(entry & PRESENT)
                if single is not None:
                    assert single.page_size_bytes == size


@pytest.mark.parametrize("pages", [1, 600])
def test_whole_tables_are_read_at_once(pages: int) -> None:
    tables = Tables(False)
    for page in range(pages):
        tables.tables.map(0x40_0000 + 4096 * page, 0x10_0000 + 4096 * page)
    tables.ram.calls = 0
    assert len(found(tables, 0, TOP)) == pages
    # One gather and one look whether it is RAM for each level, however many pages there are.
    assert tables.ram.calls <= 8
