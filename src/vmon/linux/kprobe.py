"""A kprobe is a breakpoint, a jump or an ftrace call in the kernel's code; a hash table by address holds them all.

Reads kprobe_table, kprobe, kretprobe. Several kprobes of one place hang on one that stands for them all. A hostile
guest can take a kprobe off the table: its breakpoint stays in the code, which is not looked at here. Lists are bounded.
Sources: include/linux/kprobes.h, kernel/kprobes.c.
"""

from __future__ import annotations

import numpy as np

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError
from vmon.core.records.kernel import KernelHookRecord
from vmon.kernel.columns import Column
from vmon.kernel.profile import Wants
from vmon.linux.hlist import walk_heads
from vmon.linux.kernel import Kernel
from vmon.linux.task import walk_list
from vmon.linux.where import Where

KPROBE_FIELDS = "addr nmissed pre_handler post_handler flags"
WANTS = Wants(
    symbols=("kprobe_table", "aggr_pre_handler", "pre_handler_kretprobe"),
    structs={"kprobe": "hlist list " + KPROBE_FIELDS, "kretprobe": "handler entry_handler"},
)
TABLE_HEADS = 64
"""KPROBE_TABLE_SIZE: 2^6 in every kernel."""
MAX_KPROBES = 100_000
FLAGS = {1: "gone", 2: "disabled", 4: "optimized", 8: "ftrace"}
OF_PLACE = 4 | 8
"""Flags that the one that stands for all has."""


def find_kprobes(kernel: Kernel, where: Where, gaps: Gaps) -> list[KernelHookRecord]:
    """Every registered kprobe and kretprobe, by address. BadStructure where the table's lists do not end."""
    if not kernel.has_symbol("kprobe_table") or "kprobe" not in kernel.profile.structs:
        gaps.add("kprobes", "not on this kernel")
        return []
    places = find_probed(kernel, gaps)
    heads = kernel.read("kprobe", KPROBE_FIELDS, places)
    stands_for = int(kernel.symbol("aggr_pre_handler")) if kernel.has_symbol("aggr_pre_handler") else 0
    records = []
    for place, handler, flags in zip(
        places.tolist(), heads["pre_handler"].tolist(), heads["flags"].tolist(), strict=True
    ):
        own = [place]
        if stands_for and handler == stands_for:
            own = _children(kernel, place, gaps)
        records += _records(kernel, np.array(own, dtype=np.uint64), flags & OF_PLACE, where)
    return sorted(records, key=lambda record: record.address)


def find_probed(kernel: Kernel, gaps: Gaps) -> Column:
    """Address of a struct kprobe for each place that has any: the only one, or the one that stands for all.

    BadStructure where the table's lists do not end; none on a kernel without kprobes.
    """
    if not kernel.has_symbol("kprobe_table"):
        return np.zeros(0, dtype=np.uint64)
    nodes = walk_heads(kernel, kernel.symbol("kprobe_table"), TABLE_HEADS, "kprobes", gaps, MAX_KPROBES)
    return nodes - np.uint64(kernel.offset("kprobe", "hlist"))


def _children(kernel: Kernel, place: int, gaps: Gaps) -> list[int]:
    offset = kernel.offset("kprobe", "list")
    try:
        return [node - offset for node in walk_list(kernel, Gva(place + offset), "kprobe.list", MAX_KPROBES)]
    except GuestDataError as error:
        gaps.add("kprobes", "unreadable", error.message)
        return []


def _records(kernel: Kernel, probes: Column, of_place: int, where: Where) -> list[KernelHookRecord]:
    columns = kernel.read("kprobe", KPROBE_FIELDS, probes)
    returns = int(kernel.symbol("pre_handler_kretprobe")) if kernel.has_symbol("pre_handler_kretprobe") else 0
    records = []
    for row, probe in enumerate(probes.tolist()):
        handlers = [int(columns[name][row]) for name in ("pre_handler", "post_handler")]
        is_return = bool(returns) and handlers[0] == returns
        if is_return and "kretprobe" in kernel.profile.structs:
            # A kretprobe starts with its kprobe.
            both = kernel.read_one("kretprobe", "handler entry_handler", probe)
            handlers = [int(both[name][0]) for name in ("entry_handler", "handler")]
        flags = int(columns["flags"][row]) | of_place
        address = int(columns["addr"][row])
        place = where.find(address)
        records.append(
            KernelHookRecord(
                kind="kretprobe" if is_return else "kprobe",
                address=address,
                function=place[0] if place else None,
                offset=place[1] if place else 0,
                handlers=[where.text(handler) for handler in handlers if handler],
                state=[name for bit, name in FLAGS.items() if flags & bit],
                users=1,
                missed=int(columns["nmissed"][row]),
            )
        )
    return records
