from __future__ import annotations

import pytest

from tests.unit.linux.small import Small
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure
from vmon.linux.vmstat import WANTS, read_meminfo

STRUCTS = {
    "zone": "_watermark:u64*3 watermark_boost:u64 managed_pages:u64",
    "pglist_data": "node_zones:zone*2 nr_zones:s32 node_id:s32",
    "super_block": "s_type:p s_inodes:list_head",
    "address_space": "host:p nrpages:u64",
    "inode": "i_mapping:p i_sb_list:list_head",
    "percpu_counter": "lock:u64 count:s64 counters:p",
}
ZONE_ITEMS = {"NR_FREE_PAGES": 0, "NR_MLOCK": 1, "NR_PAGETABLE": 2, "NR_VM_ZONE_STAT_ITEMS": 3}
NODE_NAMES = """
    NR_INACTIVE_ANON NR_ACTIVE_ANON NR_INACTIVE_FILE NR_ACTIVE_FILE NR_UNEVICTABLE
    NR_SLAB_RECLAIMABLE_B NR_SLAB_UNRECLAIMABLE_B NR_ANON_MAPPED NR_FILE_MAPPED NR_FILE_PAGES
    NR_FILE_DIRTY NR_WRITEBACK NR_SHMEM NR_KERNEL_MISC_RECLAIMABLE NR_KERNEL_STACK_KB NR_SWAPCACHE
    NR_VM_NODE_STAT_ITEMS
"""
SYMBOLS = {
    **{"vm_zone_stat": 64, "vm_node_stat": 256, "_totalram_pages": 8, "totalreserve_pages": 8},
    **{"node_data": 64, "total_swap_pages": 8, "nr_swap_pages": 8, "blockdev_superblock": 8},
    **{"vm_committed_as": 32, "__per_cpu_offset": 16, "nr_cpu_ids": 4},
    **{"nr_swapfiles": 4, "swapper_spaces": 64, "nr_swapper_spaces": 32},
}
PAGE = 4096
WILD = 0xFFFF_C900_0000_0000


def made(without: str = "") -> Small:
    """A machine of 1000 pages; each of a node's counters is 10 more than the one before, from 100."""
    names = [name for name in NODE_NAMES.split() if name != without]
    enums = {
        "zone_stat_item": ZONE_ITEMS,
        "node_stat_item": {name: place for place, name in enumerate(names)},
        "zone_watermarks": {"WMARK_MIN": 0, "WMARK_LOW": 1},
    }
    small = Small(WANTS, STRUCTS, SYMBOLS, enums)
    for place in range(len(names)):
        small.put(small.symbol("vm_node_stat") + 8 * place, 100 + 10 * place)
    for place, count in enumerate((500, 7, -3)):
        small.put(small.symbol("vm_zone_stat") + 8 * place, count)
    for name, pages in (("_totalram_pages", 1000), ("totalreserve_pages", 50), ("total_swap_pages", 0)):
        small.put(small.symbol(name), pages)
    node = small.new("pglist_data", nr_zones=2)
    for number, managed in enumerate((900, 0)):
        zone = node + number * small.profile["zone"].size
        small.set(zone, "zone", managed_pages=managed, watermark_boost=5)
        small.put(zone + 8, 15)
    small.put(small.symbol("node_data"), node)
    devices = small.new("super_block")
    inodes = [small.new("inode", i_mapping=small.new("address_space", nrpages=pages)) for pages in (30, 4)]
    small.chain(
        small.field(devices, "super_block", "s_inodes"),
        [small.field(at, "inode", "i_sb_list") for at in inodes],
    )
    small.put(small.symbol("blockdev_superblock"), devices)
    small.put(small.symbol("nr_cpu_ids"), 2, 4)
    small.put(small.symbol("__per_cpu_offset") + 8, 64)
    counters = small.alloc(128)
    small.put(counters, 3, 4)
    small.put(counters + 64, -1, 4)
    small.set(small.symbol("vm_committed_as"), "percpu_counter", count=70, counters=counters)
    return small


def read(small: Small, gaps: Gaps) -> dict[str, int]:
    return {record.name: record.size for record in read_meminfo(small.kernel(), gaps)}


def test_lines_of_meminfo() -> None:
    gaps = Gaps()
    found = read(made(), gaps)
    assert list(found)[:6] == ["MemTotal", "MemFree", "MemAvailable", "Buffers", "Cached", "SwapCached"]
    pages = {name: size // PAGE for name, size in found.items() if name != "KernelStack"}
    # 20 is the low watermark, of the zone that has pages; 250 are cached in files, 380 could be reclaimed.
    assert pages["MemAvailable"] == 500 - 50 + (250 - 20) + (150 + 230 - 20)
    assert (pages["Buffers"], pages["SwapCached"], pages["Cached"]) == (34, 250, 190 - 190)
    assert (pages["Active"], pages["Inactive"], pages["Slab"]) == (110 + 130, 100 + 120, 150 + 160)
    # A counter of which CPUs still hold back more than all is nothing.
    assert (pages["Mlocked"], pages["PageTables"], pages["Committed_AS"]) == (7, 0, 72)
    assert found["KernelStack"] == 240 * 1024
    assert gaps.records() == []


def test_swap_that_each_piece_counts_for_itself() -> None:
    small, gaps = made(without="NR_SWAPCACHE"), Gaps()
    small.put(small.symbol("nr_swapfiles"), 2, 4)
    spaces = small.alloc(2 * small.profile["address_space"].size)
    for number in range(2):
        small.set(spaces + number * small.profile["address_space"].size, "address_space", nrpages=20 + number)
    small.put(small.symbol("swapper_spaces") + 8, spaces)
    small.put(small.symbol("nr_swapper_spaces") + 4, 2, 4)
    found = read(small, gaps)
    assert (found["SwapCached"], found["Cached"]) == (41 * PAGE, (190 - 41 - 34) * PAGE)
    small.put(small.symbol("nr_swapper_spaces") + 4, -1, 4)
    assert "SwapCached" not in read(small, gaps)
    assert "SwapCached" in {gap.what for gap in gaps.records()}


def test_what_cannot_be_read_is_told_and_the_rest_is_there() -> None:
    small, gaps = made(), Gaps()
    small.put(small.symbol("blockdev_superblock"), WILD)
    small.put(small.symbol("_totalram_pages"), 1 << 60)
    found = read(small, gaps)
    assert {"MemTotal", "Buffers", "Cached"}.isdisjoint(found)
    assert "MemFree" in found
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [
        ("Buffers", "unreadable"),
        ("MemTotal", "unreadable"),
        ("Cached", "not on this kernel"),
    ]


def test_a_kernel_that_does_not_count() -> None:
    with pytest.raises(BadStructure, match="no such symbol"):
        read_meminfo(Small(WANTS, {}, {}).kernel(), Gaps())
    enums = {"zone_stat_item": {"NR_FREE_PAGES": 1 << 30}}
    with pytest.raises(BadStructure, match="counters"):
        read_meminfo(Small(WANTS, STRUCTS, SYMBOLS, enums).kernel(), Gaps())
