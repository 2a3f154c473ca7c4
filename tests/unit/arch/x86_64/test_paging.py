from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.build import HUGE, NX, PRESENT, SHIFTS, USER, WRITABLE, PageTables
from tests.unit.kernel.fuzz import BoundedRam, steady
from vmon.arch.x86_64.paging import NOT_MAPPED, Translation, levels_for, translate, translate_many
from vmon.core.address import Gpa, Gva

BASE, PAGES = 0x10_0000, 24
LA57 = pytest.mark.parametrize("la57", [False, True])
GIB, MIB2 = 1 << 30, 2 << 20


class Tables:
    """Page tables in a fake RAM of 24 pages; the root is the first."""

    def __init__(self, la57: bool) -> None:
        self.la57 = la57
        self.ram = BoundedRam({BASE: bytes(PAGES * 4096)})
        self.memory = self.ram.memory[BASE]
        fresh = iter(range(BASE + 4096, BASE + PAGES * 4096, 4096))
        self.tables = PageTables(BASE, la57, self.peek, self.poke, lambda: next(fresh))

    def peek(self, gpa: int) -> int:
        return int.from_bytes(self.memory[gpa - BASE : gpa - BASE + 8], "little")

    def poke(self, gpa: int, value: int) -> None:
        self.memory[gpa - BASE : gpa - BASE + 8] = value.to_bytes(8, "little")

    def at(self, gva: int) -> Translation | None:
        """The one-address walk, after comparing it with the many-address walk."""
        single = translate(self.ram, Gpa(BASE), Gva(gva), self.la57)
        gvas = np.array([gva, 0x1234, gva], dtype=np.uint64)
        many = translate_many(self.ram, np.full(3, BASE, dtype=np.uint64), gvas, self.la57)
        assert many[0] == many[2] == (NOT_MAPPED if single is None else single.gpa)
        return single


@LA57
@pytest.mark.parametrize("size", list(SHIFTS), ids=["4K", "2M", "1G"])
@pytest.mark.parametrize("gva", [0, 0x7FFD_C000_0000, 0xFFFF_8880_0000_0000, 0xFFFF_FFFF_8000_0000])
def test_pages_of_every_size(la57: bool, size: int, gva: int) -> None:
    tables = Tables(la57)
    tables.tables.map(gva, 5 * GIB, size)
    for offset in (0, 1, 0xFFF, size // 2, size - 1):
        assert tables.at(gva + offset) == Translation(Gpa(5 * GIB + offset), size, True, True, True)
    assert tables.at(gva + size) is None


def test_five_levels_reach_where_four_wrap_around() -> None:
    low, high = 0x0000_1234_5678_9000, 0x0055_1234_5678_9000
    tables = Tables(True)
    tables.tables.map(low, 0x1000)
    tables.tables.map(high, 0x2000)
    assert [getattr(tables.at(gva), "gpa", None) for gva in (low, high)] == [0x1000, 0x2000]
    assert [level.name for level in levels_for(False)] == ["pgd", "p4d", "pud", "pmd", "pte"][1:]


@LA57
def test_rights_are_those_of_all_levels_together(la57: bool) -> None:
    tables = Tables(la57)
    gva = 0x40_0000
    place = tables.tables.map(gva, 0x5000, flags=USER)
    assert tables.at(gva) == Translation(Gpa(0x5000), 4096, False, True, True)
    tables.poke(place, tables.peek(place) | NX | WRITABLE)
    assert tables.at(gva) == Translation(Gpa(0x5000), 4096, True, True, False)
    root = BASE + 8 * (gva >> (48 if la57 else 39) & 0x1FF)
    tables.poke(root, tables.peek(root) & ~(USER | WRITABLE))
    assert tables.at(gva) == Translation(Gpa(0x5000), 4096, False, False, False)


@LA57
def test_bits_of_the_root_and_of_entries_that_are_no_address(la57: bool) -> None:
    tables = Tables(la57)
    gva = 0x40_0000
    place = tables.tables.map(gva, 2 * GIB, MIB2)
    tables.poke(
        place, tables.peek(place) | 1 << 12 | 0x7FF << 52 | 0xE60
    )  # PAT, protection key, software bits
    found = tables.at(gva + 0x1234)
    assert found is not None
    assert found.gpa == 2 * GIB + 0x1234
    with_pcid = translate(tables.ram, Gpa(BASE | 0x801), Gva(gva), la57)
    assert with_pcid is not None
    assert with_pcid.gpa == 2 * GIB


@LA57
def test_a_page_bit_above_the_levels_that_may_be_pages_is_not_believed(la57: bool) -> None:
    tables = Tables(la57)
    tables.tables.map(0, 0x7000)
    top = [BASE]
    if la57:
        top.append(tables.peek(BASE) & ~0xFFF)
    for place in top:  # the pgd, and with five levels the p4d too
        tables.poke(place, tables.peek(place) | HUGE)
    found = tables.at(0)
    assert found is not None
    assert (found.gpa, found.page_size_bytes) == (0x7000, 4096)


@LA57
def test_an_entry_that_is_not_present_ends_the_walk_at_every_level(la57: bool) -> None:
    for level in range(5 if la57 else 4):
        tables = Tables(la57)
        tables.tables.map(0, 0x7000)
        table = BASE
        for _ in range(level):
            table = tables.peek(table) & ~0xFFF
        tables.poke(table, tables.peek(table) & ~PRESENT)
        assert tables.at(0) is None


@LA57
def test_tables_that_are_no_ram_end_the_walk(la57: bool) -> None:
    tables = Tables(la57)
    tables.poke(BASE, 0x000F_FFFF_FFFF_F000 | PRESENT)
    assert tables.at(0) is None
    assert translate(tables.ram, Gpa(1 << 51), Gva(0), la57) is None


@LA57
def test_a_table_that_is_its_own_next_level_ends(la57: bool) -> None:
    tables = Tables(la57)
    tables.poke(BASE, BASE | PRESENT | WRITABLE)
    found = tables.at(0)
    assert found is not None
    assert found.gpa == BASE
    assert tables.ram.calls <= 5 * 2


@LA57
def test_many_addresses_from_different_roots(la57: bool) -> None:
    tables = Tables(la57)
    tables.tables.map(0x1000, 0xA000)
    other = BASE + (PAGES - 1) * 4096
    tables.poke(other, tables.peek(BASE))
    roots = np.array([BASE, other, other, BASE + 4096 * 20], dtype=np.uint64)
    gvas = np.array([0x1FFF, 0x1000, 0x2000, 0x1000], dtype=np.uint64)
    found = translate_many(tables.ram, roots, gvas, la57)
    assert found.tolist() == [0xAFFF, 0xA000, int(NOT_MAPPED), int(NOT_MAPPED)]
    none = np.zeros(0, dtype=np.uint64)
    assert translate_many(tables.ram, none, none, la57).size == 0


ENTRY_FLAGS = [PRESENT, PRESENT | HUGE, PRESENT | WRITABLE | USER, PRESENT | NX, 0, HUGE]


@steady(60)
@given(
    st.booleans(),
    st.integers(0, 1 << 32),
    st.lists(st.integers(0, (1 << 64) - 1), min_size=1, max_size=12),
    st.lists(st.lists(st.sampled_from([0, 1, 2, 255, 256, 511]), min_size=6, max_size=6), max_size=12),
)
def test_random_tables_give_the_same_one_by_one_and_together(
    la57: bool, seed: int, gvas: list[int], paths: list[list[int]]
) -> None:
    """Tables whose entries lead to any page of them, to pages outside and nowhere."""
    rng = random.Random(seed)
    tables = Tables(la57)
    for page in range(8):
        for index in (0, 1, 2, 255, 256, 511):
            target = rng.choice([BASE + 4096 * rng.randrange(8), rng.getrandbits(52) & ~0xFFF, 3 * GIB])
            tables.poke(BASE + 4096 * page + 8 * index, target | rng.choice(ENTRY_FLAGS))
    for path in paths:
        gva = 0
        for index in path[:5]:
            gva = gva << 9 | index
        gvas.append((gva << 12 | path[5]) & (1 << 64) - 1)
    wanted = np.array(gvas, dtype=np.uint64)
    many = translate_many(tables.ram, np.full(wanted.shape, BASE, dtype=np.uint64), wanted, la57)
    for gva, got in zip(gvas, many.tolist(), strict=True):
        single = translate(tables.ram, Gpa(BASE), Gva(gva), la57)
        assert got == (int(NOT_MAPPED) if single is None else single.gpa)
