"""The kernel counts its memory in pages by kind, for all nodes and all zones together: /proc/meminfo shows these.

Reads vm_zone_stat, vm_node_stat, _totalram_pages, zones' watermarks, and the block devices' caches. CPUs hold back a
few pages each before they add them, so sums are as exact as /proc/meminfo. A hostile guest can write any number: those
that can't be are left out and told. Sources: mm/vmstat.c, mm/show_mem.c, fs/proc/meminfo.c, block/bdev.c.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vmon.core.address import PAGE_SIZE_BYTES, Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure, GuestDataError
from vmon.core.records.machine import MemoryRecord
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel
from vmon.linux.mm import read_percpu_offsets
from vmon.linux.task import walk_list

WANTS = Wants(
    symbols=(
        *("vm_zone_stat", "vm_node_stat", "_totalram_pages", "totalreserve_pages", "node_data"),
        *("total_swap_pages", "nr_swap_pages", "blockdev_superblock", "vm_committed_as"),
        *("nr_swapfiles", "swapper_spaces", "nr_swapper_spaces"),
        *("__per_cpu_offset", "nr_cpu_ids"),
    ),
    structs={
        "pglist_data": "node_id node_zones nr_zones",
        "zone": "_watermark watermark_boost managed_pages",
        "super_block": "s_inodes",
        "inode": "i_sb_list i_mapping",
        "address_space": "nrpages",
        "percpu_counter": "count counters",
    },
    enums=("zone_stat_item", "node_stat_item", "zone_watermarks"),
)
MAX_ITEMS = 1024
MAX_NODES = 1024
MAX_ZONES = 16
MAX_DEVICES = 100_000
MAX_PAGES = 1 << 52
MAX_SWAPS = 32
MAX_PIECES = 1 << 20
"""Of 64 MiB of a swap each."""
KIB = 1024
ENUMS = {"vm_zone_stat": "zone_stat_item", "vm_node_stat": "node_stat_item"}
# What a line of /proc/meminfo adds up; items are of the nodes, or of the zones.
LINES = {
    "Active": "NR_ACTIVE_ANON NR_ACTIVE_FILE",
    "Inactive": "NR_INACTIVE_ANON NR_INACTIVE_FILE",
    "Active(anon)": "NR_ACTIVE_ANON",
    "Inactive(anon)": "NR_INACTIVE_ANON",
    "Active(file)": "NR_ACTIVE_FILE",
    "Inactive(file)": "NR_INACTIVE_FILE",
    "Unevictable": "NR_UNEVICTABLE",
    "Mlocked": "NR_MLOCK",
    "SwapTotal": "",
    "SwapFree": "",
    "Dirty": "NR_FILE_DIRTY",
    "Writeback": "NR_WRITEBACK",
    "AnonPages": "NR_ANON_MAPPED",
    "Mapped": "NR_FILE_MAPPED",
    "Shmem": "NR_SHMEM",
    "KReclaimable": "NR_SLAB_RECLAIMABLE_B NR_KERNEL_MISC_RECLAIMABLE",
    "Slab": "NR_SLAB_RECLAIMABLE_B NR_SLAB_UNRECLAIMABLE_B",
    "SReclaimable": "NR_SLAB_RECLAIMABLE_B",
    "SUnreclaim": "NR_SLAB_UNRECLAIMABLE_B",
    "KernelStack": "NR_KERNEL_STACK_KB",
    "PageTables": "NR_PAGETABLE",
    "Committed_AS": "",
}


def read_meminfo(kernel: Kernel, gaps: Gaps) -> list[MemoryRecord]:
    """Lines of /proc/meminfo in its order, those that vmon follows. BadStructure where the counters are none."""
    counts = _counts(kernel)
    lines: dict[str, int | None] = {}
    lines["MemTotal"] = _pages(kernel, "_totalram_pages")
    lines["MemFree"] = _sum(counts, "NR_FREE_PAGES")
    lines["MemAvailable"] = _or_none(lambda: _available(kernel, counts), "MemAvailable", gaps)
    buffers = _or_none(lambda: _buffers(kernel), "Buffers", gaps)
    total, free = _pages(kernel, "total_swap_pages"), _pages(kernel, "nr_swap_pages")
    swap_cached = counts.get("NR_SWAPCACHE")
    if swap_cached is None:
        swap_cached = _or_none(lambda: _swap_cached(kernel), "SwapCached", gaps)
    cached = counts.get("NR_FILE_PAGES")
    lines["Buffers"] = buffers
    lines["Cached"] = (
        None
        if cached is None or buffers is None or swap_cached is None
        else max(cached - swap_cached - buffers, 0)
    )
    lines["SwapCached"] = swap_cached
    for name, items in LINES.items():
        lines[name] = _sum(counts, items) if items else None
    lines["SwapTotal"], lines["SwapFree"] = total, free
    lines["Committed_AS"] = _or_none(lambda: _committed(kernel), "Committed_AS", gaps)
    records = []
    for name, pages in lines.items():
        if pages is None or not 0 <= pages < MAX_PAGES:
            if (name, "unreadable") not in {(gap.what, gap.reason) for gap in gaps.records()}:
                gaps.add(name, "not on this kernel" if pages is None else "unreadable")
            continue
        unit = KIB if name == "KernelStack" else PAGE_SIZE_BYTES
        records.append(MemoryRecord(name=name, size=pages * unit))
    return records


def _counts(kernel: Kernel) -> dict[str, int]:
    """Every counter of pages by the name that the kernel gives it; one that is below nothing is nothing."""
    found: dict[str, int] = {}
    for symbol, enum in ENUMS.items():
        items = kernel.profile.enums.get(enum, {})
        count = max(items.values(), default=-1) + 1
        if count > MAX_ITEMS:
            raise BadStructure(f"{count:,} counters", field=symbol)
        raw = kernel.memory.read(kernel.symbol(symbol), 8 * count)
        values: NDArray[np.int64] = np.frombuffer(raw, dtype="<i8")
        found |= {name: max(int(values[place]), 0) for name, place in items.items() if place >= 0}
    return found


def _sum(counts: dict[str, int], items: str) -> int | None:
    values = [counts.get(item) for item in items.split()]
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _or_none(read: Callable[[], int | None], what: str, gaps: Gaps) -> int | None:
    try:
        return read()
    except GuestDataError as error:
        gaps.add(what, "unreadable", error.message)
        return None


def _pages(kernel: Kernel, symbol: str) -> int | None:
    return kernel.memory.u64(kernel.symbol(symbol)) if kernel.has_symbol(symbol) else None


def _available(kernel: Kernel, counts: dict[str, int]) -> int | None:
    """What programs could get without swapping. Source: si_mem_available()."""
    reserved, low = _pages(kernel, "totalreserve_pages"), _low_watermark(kernel)
    cache = _sum(counts, "NR_ACTIVE_FILE NR_INACTIVE_FILE")
    reclaimable = _sum(counts, LINES["KReclaimable"])
    if reserved is None or cache is None or reclaimable is None:
        return None
    cache -= min(cache // 2, low)
    reclaimable -= min(reclaimable // 2, low)
    return max(counts["NR_FREE_PAGES"] - reserved + cache + reclaimable, 0)


def _low_watermark(kernel: Kernel) -> int:
    """Pages below which the kernel starts to reclaim, of all zones together."""
    place = kernel.profile.enums.get("zone_watermarks", {}).get("WMARK_LOW", 1)
    node, zone = kernel.profile["pglist_data"], kernel.profile["zone"]
    total = 0
    for number in range(MAX_NODES):
        gva = kernel.memory.u64(Gva(kernel.symbol("node_data") + 8 * number))
        columns = kernel.read_one("pglist_data", "node_id nr_zones", gva)
        # Where the array ends no type tells: a node knows its number.
        known = kernel.memory.mapped(np.array([gva], dtype=np.uint64)).all()
        if not known or int(columns["node_id"][0]) != number:
            break
        zones = min(int(columns["nr_zones"][0]), MAX_ZONES)
        places = gva + node.offset("node_zones") + np.arange(zones, dtype=np.uint64) * np.uint64(zone.size)
        read = kernel.read("zone", "_watermark watermark_boost managed_pages", places.astype(np.uint64))
        marks = read.words("_watermark", place + 1)[:, place] + read["watermark_boost"]
        total += int(marks[read["managed_pages"] != 0].sum())
    if not total:
        raise BadStructure("no node of memory", field="node_data")
    return total


def _buffers(kernel: Kernel) -> int:
    """Pages that cache block devices. Source: nr_blockdev_pages()."""
    super_block = kernel.memory.u64(kernel.symbol("blockdev_superblock"))
    head = Gva(super_block + kernel.offset("super_block", "s_inodes"))
    nodes = walk_list(kernel, head, "super_block.s_inodes", MAX_DEVICES)
    inodes = np.array(nodes, dtype=np.uint64) - np.uint64(kernel.offset("inode", "i_sb_list"))
    mappings = kernel.read("inode", "i_mapping", inodes)["i_mapping"]
    return sum(kernel.read("address_space", "nrpages", mappings)["nrpages"].tolist())


def _swap_cached(kernel: Kernel) -> int | None:
    """Pages that are in memory and on the swap: until 5.12 each piece of each swap counted its own (b6038942480e)."""
    names = ("nr_swapfiles", "swapper_spaces", "nr_swapper_spaces")
    if not all(kernel.has_symbol(name) for name in names):
        return None
    files, spaces, pieces = (kernel.symbol(name) for name in names)
    size = kernel.profile["address_space"].size
    total = 0
    for number in range(min(kernel.memory.u32(files), MAX_SWAPS)):
        first, count = (
            kernel.memory.u64(Gva(spaces + 8 * number)),
            kernel.memory.u32(Gva(pieces + 4 * number)),
        )
        if count > MAX_PIECES:
            raise BadStructure(f"a swap of {count:,} pieces", field="nr_swapper_spaces")
        if first and count:
            places = np.uint64(first) + np.arange(count, dtype=np.uint64) * np.uint64(size)
            total += sum(kernel.read("address_space", "nrpages", places)["nrpages"].tolist())
    return total


def _committed(kernel: Kernel) -> int:
    """Pages that programs were promised: a counter of which each CPU has a part."""
    columns = kernel.read_one("percpu_counter", "count counters", kernel.symbol("vm_committed_as"))
    places = int(columns["counters"][0]) + np.array(read_percpu_offsets(kernel), dtype=np.uint64)
    parts = kernel.memory.gather(places.astype(np.uint64), 4).view("<i4").reshape(-1)
    return max(int(columns.signed("count")[0]) + int(parts.sum()), 0)
