from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import WORD_VALUES, steady
from tests.unit.linux.files import Files
from tests.unit.linux.small import Small
from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure, NotMapped
from vmon.linux.xarray import WANTS, Entries, find_entries, find_idr_entries

STRUCTS = {
    "xarray": "xa_lock:u32 xa_flags:u32 xa_head:p",
    "xa_node": "shift:u8 offset:u8 count:u8 nr_values:u8 parent:p array:p list:u64*2 slots:p*64 marks:u64*3",
    "idr": "idr_rt:xarray idr_base:u32 idr_next:u32",
}


def node(small: Small, shift: int, slots: dict[int, int]) -> int:
    gva = small.new("xa_node", shift=shift)
    for slot, value in slots.items():
        small.put(small.field(gva, "xa_node", "slots") + 8 * slot, value)
    return gva | 2


def entries(small: Small, head: int, *limit: int) -> Entries:
    array = Gva(small.new("xarray", xa_head=head))
    return find_entries(small.kernel(calls_limit=200), array, *limit)


def test_nothing_one_entry_and_one_number() -> None:
    small = Small(WANTS, STRUCTS, {})
    place = small.alloc(64)
    for head, values in ((0, []), (place, [place]), (0x2B, [0x2B])):
        found = entries(small, head)
        assert found.indexes.tolist() == [0] * len(values)
        assert found.values.tolist() == values
        assert found.orders.tolist() == [0] * len(values)


def test_a_tree_of_two_levels_with_numbers_siblings_and_retries() -> None:
    small = Small(WANTS, STRUCTS, {})
    one, big = small.alloc(64), small.alloc(64)
    low = node(small, 0, {0: one, 5: 0x2B, 6: 256 << 2 | 2, 63: one})
    # An entry of 4 slots: itself and three siblings that name its slot.
    wide = {8: big, 9: 8 << 2 | 2, 10: 8 << 2 | 2, 11: 8 << 2 | 2}
    high = node(small, 0, wide)
    top = node(small, 6, {0: low, 2: high, 4: big})
    found = entries(small, top)
    assert found.indexes.tolist() == [0, 5, 63, 136, 256]
    assert found.values.tolist() == [one, 0x2B, one, big, big]
    assert found.orders.tolist() == [0, 0, 0, 2, 6]
    idr = Gva(small.new("idr"))
    small.put(idr + 8, top)
    assert find_idr_entries(small.kernel(), idr).indexes.tolist() == [0, 5, 63, 136, 256]


def test_trees_that_cannot_be() -> None:
    small = Small(WANTS, STRUCTS, {})
    looped = node(small, 6, {})
    small.put(small.field(looped - 2, "xa_node", "slots"), looped)
    twice = node(small, 0, {})
    double = node(small, 6, {0: twice, 1: twice})
    below = node(small, 0, {0: twice})
    for head in (looped, double, below, node(small, 61, {})):
        with pytest.raises(BadStructure):
            entries(small, head)
    many = node(small, 0, dict.fromkeys(range(64), 0x10001))
    with pytest.raises(BadStructure, match="more than 63"):
        entries(small, many, 63)


@steady(60)
@given(st.lists(WORD_VALUES, max_size=80), WORD_VALUES)
def test_any_words(words: list[int], head: int) -> None:
    small = Small(WANTS, STRUCTS, {})
    gva = small.new("xa_node")
    for number, word in enumerate(words[:70]):
        small.put(gva + 8 * number, word)
    for entry in (head, gva | 2):
        try:
            found = entries(small, entry)
        except BadStructure:
            continue
        assert found.indexes.size == found.values.size == found.orders.size <= 64


SOMETHING = 0xFFFF_8880_0000_1000


def found(files: Files, xarray: int, limits: tuple[int, int] | None = None) -> dict[int, tuple[int, int]]:
    gaps = Gaps()
    entries = find_entries(files.kernel(), Gva(xarray), torn=gaps, span=limits)
    assert gaps.records() == []
    rows = zip(entries.indexes.tolist(), entries.values.tolist(), entries.orders.tolist(), strict=True)
    return {index: (entry, order) for index, entry, order in rows}


def made(entries: dict[int, tuple[int, int]], shift: int | None = None) -> tuple[Files, int]:
    files = Files()
    xarray = files.small.new("xarray")
    files.store(xarray, entries, shift)
    return files, xarray


def test_a_lone_entry_and_a_mark() -> None:
    files = Files()
    xarray = files.small.new("xarray")
    assert found(files, xarray) == {}
    for head, expected in ((SOMETHING, {0: (SOMETHING, 0)}), (0x23, {0: (0x23, 0)}), (1026, {})):
        files.small.set(xarray, "xarray", xa_head=head)
        assert found(files, xarray) == expected


def test_entries_of_every_order() -> None:
    entries = {
        0: (SOMETHING, 0),
        1: (SOMETHING + 0x40, 0),
        4: (SOMETHING + 0x80, 2),
        64: (SOMETHING + 0xC0, 6),
        128: (SOMETHING + 0x100, 7),
        300: (0x2001, 0),
        512: (SOMETHING + 0x140, 9),
        4096: (SOMETHING + 0x180, 12),
        100_000: (SOMETHING + 0x1C0, 0),
    }
    files, xarray = made(entries)
    assert found(files, xarray) == entries
    # A tree may be higher than it need be.
    assert found(*made({3: (SOMETHING, 0)}, shift=24)) == {3: (SOMETHING, 0)}


def test_a_part_of_it() -> None:
    chosen = random.Random(1).sample(range(20_000), 40)
    entries = {index: (SOMETHING + 64 * index, 0) for index in chosen} | {32_768: (SOMETHING, 9)}
    files, xarray = made(entries)
    for low, high in ((0, 0), (5_000, 9_000), (32_800, 33_000), (40_000, 50_000)):
        part = found(files, xarray, (low, high))
        expected = {
            index: entry
            for index, entry in entries.items()
            if index <= high and index + (1 << entry[1]) > low
        }
        assert expected.items() <= part.items() <= entries.items()
        # Only those of the same nodes come along.
        assert len(part) <= len(expected) + 64


def test_marks_and_siblings_are_no_entries() -> None:
    files, xarray = made({7: (SOMETHING, 0)})
    node = files.node({0: (SOMETHING, 0)}, 0, 0, 9)
    files.slot(node, 5, 257 << 2 | 2)
    files.slot(node, 6, 256 << 2 | 2)
    files.small.set(xarray, "xarray", xa_head=node + 2)
    assert found(files, xarray) == {0: (SOMETHING, 0)}


def test_a_node_that_was_used_again_is_left_out_and_told() -> None:
    files, xarray = made({})
    root = files.node({}, 6, 0, 0)
    for slot, parent, offset, shift in (
        (1, root, 1, 0),
        (2, root + 64, 2, 0),
        (3, root, 4, 0),
        (4, root, 4, 6),
    ):
        node = files.node({0: (SOMETHING + 64 * slot, 0)}, 0, parent, offset)
        files.small.set(node, "xa_node", shift=shift)
        files.slot(root, slot, node + 2)
    files.slot(root, 5, 0xFFFF_C900_0000_0002)
    files.small.set(xarray, "xarray", xa_head=root + 2)
    gaps = Gaps()
    entries = find_entries(files.kernel(), Gva(xarray), torn=gaps)
    assert entries.indexes.tolist() == [64]
    assert [(gap.what, gap.reason, gap.count) for gap in gaps.records()] == [("xarray", "torn", 4)]


def test_nodes_that_hold_each_other() -> None:
    files, xarray = made({})
    root = files.node({}, 12, 0, 0)
    files.small.set(xarray, "xarray", xa_head=root + 2)
    for slot in range(64):
        files.slot(root, slot, root + 2)
    gaps = Gaps()
    assert find_entries(files.kernel(20), Gva(xarray), torn=gaps).indexes.size == 0
    # Each slot leads to one node, which can name one of them alone.
    below = files.node({3: (SOMETHING, 0)}, 6, root, 9)
    for slot in range(64):
        files.slot(root, slot, below + 2)
        files.slot(below, slot, below + 2 if slot != 3 else SOMETHING)
    assert find_entries(files.kernel(20), Gva(xarray), torn=gaps).indexes.tolist() == [9 * 4096 + 3 * 64]
    # The last level has no nodes below it.
    leaf = files.node({1: (SOMETHING, 0)}, 0, 0, 0)
    files.slot(leaf, 0, below + 2)
    files.small.set(xarray, "xarray", xa_head=leaf + 2)
    assert find_entries(files.kernel(20), Gva(xarray), torn=gaps).indexes.tolist() == [1]
    assert {gap.reason for gap in gaps.records()} == {"torn"}


def test_too_many_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmon.linux.xarray.MAX_NODES", 3)
    files, xarray = made({64 * index: (SOMETHING, 0) for index in range(2)})
    assert len(found(files, xarray)) == 2
    files, xarray = made({64 * index: (SOMETHING, 0) for index in range(3)})
    with pytest.raises(BadStructure, match="more than 3 nodes"):
        find_entries(files.kernel(), Gva(xarray), torn=Gaps())


def test_roots_that_are_none() -> None:
    files, xarray = made({})
    root = files.node({}, 60, 0, 0)
    files.small.set(xarray, "xarray", xa_head=root + 2)
    assert find_entries(files.kernel(), Gva(xarray), span=(0, (1 << 64) - 1)).indexes.size == 0
    for shift in (5, 66, 255):
        files.small.set(root, "xa_node", shift=shift)
        with pytest.raises(BadStructure, match="of shift"):
            find_entries(files.kernel(), Gva(xarray), torn=Gaps())
    with pytest.raises(NotMapped):
        find_entries(files.kernel(), Gva(0xFFFF_C900_0000_0000), torn=Gaps())
