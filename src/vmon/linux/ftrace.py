"""Each function that ftrace can hook has a record that counts who wants it; those who want it are on a list.

Reads ftrace_pages_start, ftrace_page, dyn_ftrace: 40,000 records as a few arrays. Then ftrace_ops_list, ftrace_ops and
the tables of functions that each ftrace_ops chose. A hostile guest can bend lists and arrays: both are bounded. When
the guest changes what it traces meanwhile, who is called may lag behind how many.
Sources: include/linux/ftrace.h, kernel/trace/ftrace.c.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure, GuestDataError
from vmon.core.records.kernel import KernelHookRecord
from vmon.kernel.columns import Column
from vmon.kernel.profile import Wants
from vmon.linux.hlist import walk_heads
from vmon.linux.kernel import Kernel
from vmon.linux.where import Where

WANTS = Wants(
    symbols=("ftrace_pages_start", "ftrace_ops_list", "ftrace_list_end"),
    structs={
        "ftrace_page": "next records index",
        "dyn_ftrace": "ip flags",
        "ftrace_ops": "func next func_hash",
        "ftrace_ops_hash": "notrace_hash filter_hash",
        "ftrace_hash": "size_bits buckets count",
        "ftrace_func_entry": "hlist ip",
    },
)
MAX_GROUPS = 100_000
MAX_RECORDS = 2_000_000
MAX_OPS = 10_000
MAX_SIZE_BITS = 16
USERS_MASK = 0xFFFF
"""The count lies in the lowest bits; how many has changed (26, 23, 19), more than these were never needed."""
FL_ENABLED = 1 << 31
RECORD_BYTES = 16


@dataclass(frozen=True, slots=True)
class Ops:
    """One who wants to be called."""

    handler: int
    chosen: frozenset[int]
    """Addresses; none for all functions."""
    left_out: frozenset[int]


def find_traced(kernel: Kernel, where: Where, gaps: Gaps) -> list[KernelHookRecord]:
    """Every function at which ftrace calls somebody, by address. BadStructure where the lists do not end."""
    if not kernel.has_symbol("ftrace_pages_start") or "dyn_ftrace" not in kernel.profile.structs:
        gaps.add("ftrace", "not on this kernel")
        return []
    addresses, flags = read_records(kernel, gaps)
    wanted = (flags & np.uint64(USERS_MASK | FL_ENABLED)) != 0
    if not wanted.any():
        return []
    ops = _read_ops(kernel, gaps)
    records = []
    for address, flag in zip(addresses[wanted].tolist(), flags[wanted].tolist(), strict=True):
        place = where.find(address)
        handlers = [
            one.handler
            for one in ops
            if (address in one.chosen or not one.chosen) and address not in one.left_out
        ]
        records.append(
            KernelHookRecord(
                kind="ftrace",
                address=address,
                function=place[0] if place else None,
                offset=place[1] if place else 0,
                handlers=[where.text(handler) for handler in handlers],
                state=["enabled"] if flag & FL_ENABLED else [],
                users=flag & USERS_MASK,
                missed=None,
            )
        )
    return sorted(records, key=lambda record: record.address)


def read_records(kernel: Kernel, gaps: Gaps) -> tuple[Column, Column]:
    """Address and flags of every function that can be traced."""
    at = kernel.memory.u64(kernel.symbol("ftrace_pages_start"))
    size = kernel.profile["dyn_ftrace"].size
    if size % 8 or size < RECORD_BYTES:
        raise BadStructure(f"a record of {size} bytes", field="dyn_ftrace")
    words = [kernel.profile["dyn_ftrace"].offset(name) // 8 for name in ("ip", "flags")]
    parts: list[np.ndarray[tuple[int, int], np.dtype[np.uint64]]] = []
    seen: set[int] = set()
    total = 0
    while at:
        if at in seen or len(seen) > MAX_GROUPS:
            raise BadStructure("a list that does not end", field="ftrace_page.next", address=at)
        seen.add(at)
        columns = kernel.read_one("ftrace_page", "next records index", at)
        count = int(columns["index"][0])
        total += count
        if total > MAX_RECORDS:
            raise BadStructure(f"more than {MAX_RECORDS:,} functions", field="ftrace_page.index", address=at)
        try:
            raw = kernel.memory.read(Gva(int(columns["records"][0])), size * count)
            parts.append(np.frombuffer(raw, dtype="<u8").reshape(count, size // 8)[:, words])
        except GuestDataError:
            gaps.add("ftrace", "unreadable", count=count)
        at = int(columns["next"][0])
    both = np.concatenate(parts).astype(np.uint64) if parts else np.zeros((0, 2), dtype=np.uint64)
    return both[:, 0], both[:, 1]


def _read_ops(kernel: Kernel, gaps: Gaps) -> list[Ops]:
    at, end = kernel.memory.u64(kernel.symbol("ftrace_ops_list")), int(kernel.symbol("ftrace_list_end"))
    found: list[Ops] = []
    seen: set[int] = set()
    while at and at != end:
        if at in seen or len(seen) > MAX_OPS:
            gaps.add("handlers", "unreadable", "the list of ftrace's users does not end")
            break
        seen.add(at)
        try:
            columns = kernel.read_one("ftrace_ops", "func next func_hash", at)
            both = kernel.read_one(
                "ftrace_ops_hash", "notrace_hash filter_hash", int(columns["func_hash"][0])
            )
            chosen, left_out = (
                _functions(kernel, int(both[name][0]), gaps) for name in ("filter_hash", "notrace_hash")
            )
            found.append(Ops(int(columns["func"][0]), chosen, left_out))
        except GuestDataError as error:
            gaps.add("handlers", "unreadable", error.message)
            break
        at = int(columns["next"][0])
    return found


def _functions(kernel: Kernel, table: int, gaps: Gaps) -> frozenset[int]:
    """Addresses in one table of chosen functions."""
    if not table:
        return frozenset()
    columns = kernel.read_one("ftrace_hash", "size_bits buckets count", table)
    bits = int(columns["size_bits"][0])
    if not columns["count"][0] or not columns["buckets"][0]:
        return frozenset()
    if bits > MAX_SIZE_BITS:
        raise BadStructure(f"a table of 2^{bits} lists", field="ftrace_hash.size_bits", address=table)
    nodes = walk_heads(kernel, Gva(int(columns["buckets"][0])), 1 << bits, "handlers", gaps, MAX_RECORDS)
    entries = nodes - np.uint64(kernel.offset("ftrace_func_entry", "hlist"))
    return frozenset(kernel.read("ftrace_func_entry", "ip", entries)["ip"].tolist())
