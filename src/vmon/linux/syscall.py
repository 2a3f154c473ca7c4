"""System calls are a table of functions by number; the tracing code keeps each number's name beside it.

Reads sys_call_table and syscalls_metadata. A hostile guest can write any address; the number of entries is bounded.
Since 6.9 the entry code calls a switch, x64_sys_call, and the table serves tracing alone.
Sources: arch/x86/entry/syscall_64.c, kernel/trace/trace_syscalls.c.
"""

from __future__ import annotations

import numpy as np

from vmon.core.address import Gva
from vmon.core.errors import GuestDataError
from vmon.kernel.columns import Column
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel

WANTS = Wants(
    symbols=("sys_call_table", "ia32_sys_call_table", "syscalls_metadata"),
    structs={"syscall_metadata": "name"},
)
MAX_SYSCALLS = 1024
MAX_NAME_BYTES = 128


def read_table(kernel: Kernel, name: str = "sys_call_table") -> Column:
    """Address of each system call's function. It ends where the next symbol starts. BadStructure without the table."""
    start = kernel.symbol(name)
    end = kernel.symbols.next_after(start) or start
    count = min((end - start) // 8, MAX_SYSCALLS)
    return np.frombuffer(kernel.memory.read(start, 8 * count), dtype="<u8").astype(np.uint64)


def read_names(kernel: Kernel, count: int) -> list[str | None]:
    """Name of each number as the tracing code has it (sys_openat); None where it has none, or can't be read."""
    if not kernel.has_symbol("syscalls_metadata"):
        return [None] * count
    try:
        table = Gva(kernel.memory.u64(kernel.symbol("syscalls_metadata")))
        data = kernel.memory.read(table, 8 * count)
    except GuestDataError:
        return [None] * count
    pointers = np.frombuffer(data, dtype="<u8").astype(np.uint64)
    names = kernel.read("syscall_metadata", "name", pointers)["name"].tolist()
    return [
        _text(kernel, name) if pointer else None
        for pointer, name in zip(pointers.tolist(), names, strict=True)
    ]


def _text(kernel: Kernel, gva: int) -> str | None:
    try:
        return kernel.memory.string(Gva(gva), MAX_NAME_BYTES).decode("latin-1")
    except GuestDataError:
        return None
