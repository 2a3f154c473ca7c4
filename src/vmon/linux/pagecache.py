"""What the guest has read of a file, or written to it, lies in its page cache: an xarray of folios for each file.

Reads address_space, its xarray, and the struct page of each folio: a folio counts only where its struct page says that
it belongs to this very mapping. A hostile guest can have any pages named; they are read as RAM and as nothing else, and
trees are bounded by vmon.linux.xarray. When the guest drops or moves a page meanwhile, its struct page no longer says
so: it is a gap. What the page holds may change while it is read, as a file may that one reads from inside.
Sources: include/linux/pagemap.h, mm/filemap.c, mm/shmem.c, mm/workingset.c, include/asm-generic/memory_model.h.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vmon.core.address import PAGE_SHIFT, PAGE_SIZE_BYTES, Gva
from vmon.core.coverage import Gaps, Reason
from vmon.core.errors import BadStructure
from vmon.kernel.columns import Column
from vmon.kernel.profile import Wants
from vmon.linux import xarray
from vmon.linux.kernel import Kernel

# flags: a struct of one word, memdesc_flags_t, since 6.18. index: __folio_index since 6.16.
PAGE_FIELDS = "flags.f|flags mapping index|__folio_index"
PAGE_COLUMNS = "flags.f mapping index"
WANTS = xarray.WANTS | Wants(
    # ramfs_aops: ram_aops since 5.14.
    symbols=("shmem_aops", "ram_aops", "ramfs_aops", "hugetlbfs_aops"),
    structs={
        "address_space": "host i_pages a_ops nrpages",
        "page": PAGE_FIELDS,
        "inode": "i_sb",
        "super_block": "s_blocksize",
    },
    enums=("pageflags",),
)
KINDS = {"shmem_aops": "shmem", "ram_aops": "ram", "ramfs_aops": "ram", "hugetlbfs_aops": "hugetlbfs"}
MAX_ORDER = 18
"""A huge page of 1 GiB."""
MAX_PAGES = 16 << 20
"""64 GiB: more than this of one file is not listed page by page."""


class Lacks(NamedTuple):
    """Parts of a file that are known to be elsewhere than in RAM: a column a field, a row 2^order pages."""

    indexes: Column
    orders: NDArray[np.uint8]
    reasons: list[Reason]
    """swapped; torn: the guest changed it meanwhile; unreadable: no such RAM."""
    torn_nodes: int
    """Nodes of the tree that changed while it was walked: pages that were in them are nowhere here."""


class Pages(NamedTuple):
    """The pages of a file that are in RAM, a column a field, in rising order; a row is a folio of 2^order pages.

    What is in no row, and in no row of `gaps`, the guest never read in, or dropped without a trace.
    """

    indexes: Column
    """The first page of the file that the folio holds."""
    gpas: Column
    """Where that page lies; the rest of the folio follows it."""
    orders: NDArray[np.uint8]
    gaps: Lacks


class Mapping(NamedTuple):
    """What an address_space says of itself."""

    gva: Gva
    host: Gva
    """The inode whose content it is; 0 where it can't be read."""
    pages_count: int
    """Pages in RAM, as the guest counts them."""
    kind: str
    """Which file system that lives in memory alone it belongs to: shmem (tmpfs, memfd, System V), ram, hugetlbfs.

    Empty for all others, whose pages may be on a disk instead.
    """


def read_mapping(kernel: Kernel, mapping: Gva) -> Mapping:
    """Whose address_space it is, and whether a page that is not there can be elsewhere. NotMapped."""
    kernel.memory.read(mapping, 8)  # a row of zeros would pass for an empty file
    columns = kernel.read_one("address_space", "host nrpages a_ops", mapping)
    ops = int(columns["a_ops"][0])
    kinds = [kind for name, kind in KINDS.items() if kernel.has_symbol(name) and kernel.symbol(name) == ops]
    return Mapping(
        mapping, Gva(int(columns["host"][0])), int(columns["nrpages"][0]), kinds[0] if kinds else ""
    )


def find_pages(kernel: Kernel, mapping: Gva, limits: tuple[int, int] | None = None) -> Pages:
    """The pages of one address_space that are in RAM, or those that may touch pages limits[0] to limits[1].

    About 0.2 ms, and a millisecond for each 5,000 pages. BadStructure where its xarray makes no sense; NotMapped.
    """
    head = Gva(mapping + kernel.offset("address_space", "i_pages"))
    about = read_mapping(kernel, mapping)
    huge = _huge_order(kernel, about) if about.kind == "hugetlbfs" else 0
    torn = Gaps()
    found = xarray.find_entries(kernel, head, torn=torn, span=None if huge else limits)
    is_value = (found.values & np.uint64(xarray.VALUE)) != 0
    # A value is where shared memory was swapped to; in other files the memory of an eviction, and the page is gone.
    swapped = is_value if about.kind == "shmem" else np.zeros_like(is_value)
    kept = found[~is_value]
    indexes, entries, orders = kept.indexes, kept.values, kept.orders
    columns = kernel.read("page", PAGE_COLUMNS, entries)
    # Up to 5.16 each slot of a huge page leads to its first page; then one entry has the order (6b24ca4a1a8d).
    into = indexes - columns["index"]
    fits = (columns["mapping"] == np.uint64(mapping)) & (into < np.uint64(1 << MAX_ORDER))
    if huge:
        # In units of huge pages until 6.7, each with an order of 0.
        small = orders < huge
        indexes = np.where(small, indexes << np.uint64(huge), indexes)
        orders = np.where(small, np.uint8(huge), orders)
    size = np.uint64(kernel.profile["page"].size)
    place = entries - np.uint64(kernel.memory.bases.vmemmap_base)
    gpas = (place // size + np.where(fits, into, np.uint64(0))) << np.uint64(PAGE_SHIFT)
    there = (place % size == 0) & kernel.memory.phys.contains(gpas, PAGE_SIZE_BYTES)
    # A page that is being read in, or that fallocate() gave and nobody wrote: nothing of the file is in it.
    filled = (columns["flags.f"] >> np.uint64(_bit(kernel, "PG_uptodate"))) & np.uint64(1) != 0
    good = there & fits & filled
    parts: list[tuple[Reason, Column, NDArray[np.uint8]]] = [
        ("swapped", found.indexes[swapped], found.orders[swapped]),
        ("torn", indexes[there & ~fits], orders[there & ~fits]),
        ("unreadable", indexes[~there], orders[~there]),
    ]
    lacks = Lacks(
        np.concatenate([part[1] for part in parts]),
        np.concatenate([part[2] for part in parts]),
        [reason for reason, rows, _ in parts for _ in range(rows.size)],
        sum(gap.count for gap in torn.records()),
    )
    return Pages(indexes[good], gpas[good], orders[good], lacks)


def _huge_order(kernel: Kernel, about: Mapping) -> int:
    """The order of the pages of a hugetlbfs, which says so as its block size; 9 (2 MiB) where that makes no sense."""
    block = int(
        kernel.read("super_block", "s_blocksize", kernel.read_one("inode", "i_sb", about.host)["i_sb"])[
            "s_blocksize"
        ][0]
    )
    order = block.bit_length() - 1 - PAGE_SHIFT
    return order if 0 < order <= MAX_ORDER and block.bit_count() == 1 else 9


def _bit(kernel: Kernel, flag: str) -> int:
    try:
        return kernel.profile.enums["pageflags"][flag]
    except KeyError:
        raise BadStructure("this kernel has no such page flag", field=flag) from None


def each_page(pages: Pages) -> tuple[Column, Column]:
    """Index and address of each single page, folios taken apart, rising; what is there twice is there once."""
    indexes, gpas = spread(pages.indexes, pages.orders), spread(pages.gpas, pages.orders, PAGE_SIZE_BYTES)
    if indexes.size and not (indexes[1:] > indexes[:-1]).all():
        indexes, first = np.unique(indexes, return_index=True)
        gpas = gpas[first]
    return indexes, gpas


def spread(firsts: Column, orders: NDArray[np.uint8], step: int = 1) -> Column:
    """Each number, and those that follow it: 2^order in all, `step` apart. BadStructure where that is too many."""
    if not orders.any():
        return firsts
    counts = np.int64(1) << orders.astype(np.int64)
    if (orders > MAX_ORDER).any() or int(counts.sum()) > MAX_PAGES:
        raise BadStructure(f"folios of more than {MAX_PAGES:,} pages", field="address_space.i_pages")
    starts = np.cumsum(counts) - counts
    within = np.arange(int(counts.sum()), dtype=np.int64) - np.repeat(starts, counts)
    every: Column = np.repeat(firsts, counts) + (within * step).astype(np.uint64)
    return every
