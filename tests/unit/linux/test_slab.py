from __future__ import annotations

import pytest

from tests.unit.kernel.build import WRITABLE, PageTables
from tests.unit.linux.small import PAGE_OFFSET, RAM_BYTES, Small
from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure
from vmon.linux.slab import WANTS, find_slots

VMEMMAP = 0xFFFF_EA00_0000_0000
CACHE = "kmem_cache"
HEAD = "flags:u64 slab_cache:p freelist:p inuse:u16"
NEW = {
    "page": "flags:u64*8",
    "slab": f"{HEAD} objects:u16 rest:u64*4",
    CACHE: "size:u32 object_size:u32 red_left_pad:u32",
}
OLD = {"page": f"{HEAD} objects:u16 rest:u64*4", CACHE: "size:u32 object_size:u32"}


def made(structs: dict[str, str]) -> tuple[Small, int]:
    """A memmap of 16 KiB for the MiB of RAM; page frames 0x80 and 0x90 are slabs of the cache, 0x84 is another's."""
    small = Small(WANTS, structs, {})
    cache = small.new(CACHE, size=192, object_size=176)
    memmap = small.alloc(64 * (RAM_BYTES >> 12), 4096)
    spare = iter(range(RAM_BYTES - 7 * 4096, RAM_BYTES - 4096, 4096))

    def peek(gpa: int) -> int:
        return int.from_bytes(small.ram[gpa : gpa + 8], "little")

    def poke(gpa: int, value: int) -> None:
        small.ram[gpa : gpa + 8] = value.to_bytes(8, "little")

    tables = PageTables(RAM_BYTES - 4096, False, peek, poke, lambda: next(spare))
    for page in range(4):
        tables.map(VMEMMAP + 4096 * page, memmap - PAGE_OFFSET + 4096 * page, 4096, WRITABLE)
    kind = "slab" if "slab" in structs else "page"
    for frame, owner, objects in ((0x80, cache, 3), (0x84, cache + 64, 9), (0x90, cache, 1)):
        small.set(memmap + 64 * frame, kind, slab_cache=owner, objects=objects)
    return small, cache


@pytest.mark.parametrize("structs", [NEW, OLD], ids=["struct slab", "struct page"])
def test_slots_of_a_cache_and_of_no_other(structs: dict[str, str]) -> None:
    small, cache = made(structs)
    gaps = Gaps()
    slots = find_slots(small.kernel(), Gva(cache), gaps)
    first = PAGE_OFFSET + 0x80_000
    assert slots.tolist() == [first, first + 192, first + 384, PAGE_OFFSET + 0x90_000]
    assert gaps.records() == []


def test_a_red_zone_before_each_object() -> None:
    small, cache = made(NEW)
    small.set(cache, CACHE, red_left_pad=64)
    assert find_slots(small.kernel(), Gva(cache), Gaps())[0] == PAGE_OFFSET + 0x80_040


@pytest.mark.parametrize("size", [0, 4, 1 << 30])
def test_a_cache_that_cannot_be(size: int) -> None:
    small, cache = made(NEW)
    small.set(cache, CACHE, size=size)
    with pytest.raises(BadStructure):
        find_slots(small.kernel(), Gva(cache), Gaps())
