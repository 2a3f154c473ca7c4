"""The kernel changes its own code at places that it keeps lists of: static keys, static calls, ftrace, kprobes.

Reads the tables of jump labels and static calls, ftrace's records and the table of kprobes. What changes once, as the
kernel starts (alternatives, paravirt, retpolines), is not listed here. A hostile guest can add places of its own to the
lists that are no part of the image (ftrace, kprobes): who uses them must look at what stands there too.
Sources: include/linux/jump_label.h, include/linux/static_call_types.h, kernel/trace/ftrace.c, kernel/kprobes.c.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure, GuestDataError
from vmon.kernel.columns import Column
from vmon.kernel.profile import Wants
from vmon.linux import ftrace, kprobe
from vmon.linux.kernel import Kernel

WANTS = (
    ftrace.WANTS
    | kprobe.WANTS
    | Wants(
        symbols=(
            "__start___jump_table",
            "__stop___jump_table",
            "__start_static_call_sites",
            "__stop_static_call_sites",
            "ftrace_call",
            "ftrace_regs_call",
            "ftrace_graph_call",
        ),
        structs={
            "jump_entry": "code target",
            "static_call_site": "addr",
        },
    )
)
MAX_TABLE_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Patchable:
    """Addresses of instructions that may differ from one moment to the next."""

    jumps: Column
    jump_targets: Column
    calls: Column
    traced: Column
    """Where ftrace patches: at the entry of a function."""
    probed: Column
    """Where a kprobe is."""
    tracer: Column
    """Calls in ftrace's own code."""


def find_patchable(kernel: Kernel, gaps: Gaps) -> Patchable:
    """Every place of the kernel proper; those of modules are in tables of their own. 2 to 5 ms."""
    nothing = np.zeros(0, dtype=np.uint64)
    jumps = targets = calls = traced = probed = nothing
    try:
        jumps, targets = _jump_labels(kernel)
        calls = _relative(kernel, "static_call_sites", "static_call_site", "addr")[0]
    except GuestDataError as error:
        gaps.add("places of static keys and calls", "unreadable", error.message)
    try:
        if kernel.has_symbol("ftrace_pages_start"):
            traced = ftrace.read_records(kernel, gaps)[0]
    except GuestDataError as error:
        gaps.add("places of ftrace", "unreadable", error.message)
    try:
        probed = kernel.read("kprobe", "addr", kprobe.find_probed(kernel, gaps))["addr"]
    except GuestDataError as error:
        gaps.add("places of kprobes", "unreadable", error.message)
    names = [
        name for name in ("ftrace_call", "ftrace_regs_call", "ftrace_graph_call") if kernel.has_symbol(name)
    ]
    tracer = np.array([kernel.symbol(name) for name in names], dtype=np.uint64)
    return Patchable(jumps, targets, calls, traced, probed, tracer)


def _jump_labels(kernel: Kernel) -> tuple[Column, Column]:
    code, entries = _relative(kernel, "__jump_table", "jump_entry", "code")
    offset = kernel.offset("jump_entry", "target")
    targets = _signed(
        entries, offset, kernel.symbol("__start___jump_table"), kernel.profile["jump_entry"].size
    )
    return code, targets


def _relative(kernel: Kernel, section: str, struct: str, field: str) -> tuple[Column, NDArray[np.uint8]]:
    """Places that a table holds relative to where they are written; and the table's bytes, a row an entry."""
    start, end = kernel.symbol(f"__start_{section}"), kernel.symbol(f"__stop_{section}")
    size = kernel.profile[struct].size
    if not 0 <= end - start <= MAX_TABLE_BYTES:
        raise BadStructure(f"a table of {end - start:,} bytes", field=section, address=start)
    data = kernel.memory.read(start, (end - start) // size * size)
    entries = np.frombuffer(data, dtype=np.uint8).reshape(-1, size)
    return _signed(entries, kernel.offset(struct, field), start, size), entries


def _signed(entries: NDArray[np.uint8], offset: int, start: int, size: int) -> Column:
    distances = np.ascontiguousarray(entries[:, offset : offset + 4]).view("<i4").reshape(-1).astype(np.int64)
    places = np.uint64(start + offset) + np.arange(len(entries), dtype=np.uint64) * np.uint64(size)
    return (places.view(np.int64) + distances).view(np.uint64)
