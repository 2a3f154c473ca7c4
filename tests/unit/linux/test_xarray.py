from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import WORD_VALUES, steady
from tests.unit.linux.small import Small
from vmon.core.address import Gva
from vmon.core.errors import BadStructure
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
