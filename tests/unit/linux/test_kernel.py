from __future__ import annotations

import numpy as np
import pytest

from tests.unit.linux.build import AT, RODATA_GVA, Guest
from vmon.core.errors import BadStructure
from vmon.linux.kernel import distinct, read_strings


def test_symbols_are_addresses_of_this_boot() -> None:
    kernel = Guest("new").kernel()
    assert kernel.symbol("jiffies_64") == RODATA_GVA + AT["jiffies_64"]
    assert kernel.has_symbol("timekeeper_data")
    assert not kernel.has_symbol("tk_core")
    with pytest.raises(BadStructure) as caught:
        kernel.symbol("tk_core")
    assert caught.value.field == "tk_core"


def test_structures_and_fields_that_this_kernel_lacks() -> None:
    guest = Guest("new")
    mm = guest.new("mm_struct", {"pgd": 5})
    kernel = guest.kernel()
    columns = kernel.read_one("mm_struct", "pgd mmap", mm)
    assert columns["pgd"].tolist() == [5]
    assert "mmap" not in columns
    with pytest.raises(BadStructure) as caught:
        kernel.read_one("no_struct", "x", 0)
    assert caught.value.field == "no_struct"
    with pytest.raises(BadStructure) as caught:
        kernel.offset("mm_struct", "mmap")
    assert caught.value.field == "mm_struct.mmap"


@pytest.mark.parametrize(
    ("values", "unique", "which"),
    [([], [], []), ([0, 0], [], [-1, -1]), ([7, 0, 5, 7], [5, 7], [1, -1, 0, 1]), ([9, 9], [9], [0, 0])],
)
def test_different_addresses(values: list[int], unique: list[int], which: list[int]) -> None:
    found, index = distinct(np.array(values, dtype=np.uint64))
    assert (found.tolist(), index.tolist()) == (unique, which)


def test_strings_short_long_empty_and_nowhere() -> None:
    guest = Guest("new")
    texts = [b"short", b"y" * 63, b"z" * 64, b"x" * 300, b""]
    pointers = [*map(guest.string, texts), 0, 0xFFFF_F000_0000_0000]
    found = read_strings(guest.kernel(), np.array(pointers, dtype=np.uint64), 100)
    assert found == [b"short", b"y" * 63, b"z" * 64, b"x" * 100, b"", None, None]
