"""A hash table of the kernel is an array of heads, each the first of a chain that ends at null or at an odd pointer.

Reads whole arrays and then all chains at once, one gather a step: a table of thousands of buckets costs as much as its
longest chain. A hostile guest can make a table as large as it likes, a chain a loop, or let two chains meet: tables and
chains are bounded, no node is told twice, and what was cut is a gap. When the guest moves a node to another chain
meanwhile, a nulls-terminated chain ends with another chain's number: the table is walked again, then said to be torn.
Sources: include/linux/list.h, include/linux/list_nulls.h, include/linux/rhashtable.h.
"""

from __future__ import annotations

import numpy as np

from vmon.core.address import PAGE_SIZE_BYTES
from vmon.core.coverage import Gaps
from vmon.kernel.columns import Column
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel

MAX_BUCKETS = 1 << 20
MAX_CHAIN = 100_000
MAX_NODES = 1_000_000
TRIES = 3
# One page less than there are: no sum of a good address and a page wraps.
END_OF_ADDRESSES = (1 << 64) - PAGE_SIZE_BYTES
KERNEL_HALF = np.uint64(1 << 63)
RHASH_FIELDS = "size nest future_tbl buckets"
WANTS = Wants(structs={"rhashtable": "tbl", "bucket_table": RHASH_FIELDS})


def read_heads(
    kernel: Kernel, gva: int, count: int, what: str, gaps: Gaps, stride: int = 8, limit: int = MAX_BUCKETS
) -> Column:
    """The first pointer of each of `count` buckets of `stride` bytes, 0 where there is no memory behind it.

    `limit` is for who reads many tables: MAX_BUCKETS for one, what is left of them for the next.
    """
    if count > max(limit, 0):
        gaps.add(what, "bounded", f"a table that claims {count:,} buckets")
        count = max(limit, 0)
    if gva + count * stride > END_OF_ADDRESSES:
        gaps.add(what, "unreadable", "a hash table")
        return np.zeros(count, dtype=np.uint64)
    first = gva & -PAGE_SIZE_BYTES
    pages = np.arange(first, gva + count * stride, PAGE_SIZE_BYTES, dtype=np.uint64)
    data = kernel.memory.gather(pages, PAGE_SIZE_BYTES).reshape(-1)
    if not kernel.memory.mapped(pages).all():
        gaps.add(what, "unreadable", "a part of a hash table")
    rows = data[gva - first : gva - first + count * stride].reshape(count, stride)
    return np.ascontiguousarray(rows[:, :8]).view("<u8").reshape(-1).astype(np.uint64)


def walk_chains(
    kernel: Kernel, heads: Column, what: str, gaps: Gaps, nulls_base: int | None = None, link: int = 0
) -> Column:
    """Every node of every chain, the first ones first; no node twice.

    Pointers lead to nodes, and each node has its own pointer `link` bytes on.
    `nulls_base` is what the kernel adds to a bucket's number in the end of its chain: the end of another bucket tells
    that the guest moved a node under the walk.
    """
    return walk_chains_of(kernel, heads, what, gaps, nulls_base, link)[0]


def walk_chains_of(
    kernel: Kernel, heads: Column, what: str, gaps: Gaps, nulls_base: int | None = None, link: int = 0
) -> tuple[Column, Column]:
    """The same, and for each node the number of the head that its chain began at."""
    for _ in range(TRIES):
        seen = Gaps()
        found, owners, torn = _walk(kernel, heads, what, seen, nulls_base, link)
        if not torn:
            break
    if torn:
        gaps.add(what, "torn", "chains that ended in another one", torn)
    gaps.add_all(seen.records())
    return found, owners


def _walk(
    kernel: Kernel, heads: Column, what: str, gaps: Gaps, nulls_base: int | None, link: int
) -> tuple[Column, Column, int]:
    """All nodes, the bucket of each, and how many chains ended in another one."""
    buckets = np.arange(heads.size, dtype=np.uint64)
    at, torn = heads, 0
    known: set[int] = set()
    parts: list[Column] = [np.zeros(0, dtype=np.uint64)]
    owners: list[Column] = [np.zeros(0, dtype=np.uint64)]
    for _ in range(MAX_CHAIN):
        ends = (at & np.uint64(1)) == 1
        if nulls_base is not None:
            torn += int((at[ends] >> np.uint64(1) != buckets[ends] + np.uint64(nulls_base)).sum())
        going = ~ends & (at != 0)
        at, buckets = at[going], buckets[going]
        if not at.size:
            break
        there = kernel.memory.mapped(at) & (at >= KERNEL_HALF)
        fresh = np.ones(at.size, dtype=bool)
        for row, node in enumerate(at.tolist()):
            fresh[row] = node not in known
            known.add(node)
        if not there.all():
            gaps.add(what, "unreadable", "a chain that leads nowhere", int((~there).sum()))
        if not fresh.all():
            gaps.add(what, "unreadable", "a chain that runs into itself or another", int((~fresh).sum()))
        at, buckets = at[there & fresh], buckets[there & fresh]
        parts.append(at)
        owners.append(buckets)
        if len(known) > MAX_NODES:
            gaps.add(what, "bounded", f"more than {MAX_NODES:,} entries")
            break
        at = kernel.memory.gather(at + np.uint64(link), 8).view("<u8").reshape(-1).astype(np.uint64)
    else:
        gaps.add(what, "bounded", f"a chain of more than {MAX_CHAIN:,} entries", int(at.size))
    return np.concatenate(parts), np.concatenate(owners), torn


def walk_rhashtables(kernel: Kernel, tables: Column, what: str, gaps: Gaps) -> Column:
    """Every rhash_head in these structs rhashtable, and in the tables that they grow into meanwhile."""
    at = kernel.read("rhashtable", "tbl", tables)["tbl"]
    offset = kernel.offset("bucket_table", "buckets")
    heads: list[Column] = []
    left = MAX_BUCKETS
    for _ in range(TRIES):
        at = at[at != 0]
        if not at.size:
            break
        columns = kernel.read("bucket_table", RHASH_FIELDS, at)
        # Made only where the guest was out of memory.
        nested = columns["nest"] != 0
        if nested.any():
            gaps.add(what, "not looked for", "a nested hash table", int(nested.sum()))
        for gva, size in zip(at[~nested].tolist(), columns["size"][~nested].tolist(), strict=True):
            heads.append(read_heads(kernel, gva + offset, size, what, gaps, limit=left))
            left -= size
        at = columns["future_tbl"]
    if not heads:
        return np.zeros(0, dtype=np.uint64)
    # The lowest bit of a bucket is its lock. What moves meanwhile is in both tables.
    return walk_chains(kernel, np.concatenate(heads) & ~np.uint64(1), what, gaps)
