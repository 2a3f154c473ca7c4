"""Every task has a kernel stack of its own; what lies on it from its stack pointer up is still to be returned to.

Reads task_struct, the lists of tasks and threads, and pages of stacks, of a guest that stands still: of one that runs
the stack pointers are old at once. A task that does not run has its stack pointer in task_struct.thread.sp; of one that
runs it is the CPU's. An interrupt or exception leaves where it struck on the stack: RIP, CS, and more. A hostile guest
can lie about all of this; every walk is bounded.
Sources: include/linux/sched/task_stack.h, arch/x86/include/asm/{processor,ptrace,switch_to}.h, kernel/fork.c.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vmon.core.address import PAGE_SIZE_BYTES, Gva
from vmon.core.errors import BadStructure
from vmon.kernel.columns import Column
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel
from vmon.linux.task import MAX_TASKS, find_tasks

# The initial stack ends at __end_init_task until 6.9 (2cb1a1e9a3ca) and at __end_init_stack since.
WANTS = Wants(
    symbols=("init_task", "init_stack", "__end_init_task", "__end_init_stack"),
    structs={
        "task_struct": "stack thread.sp signal thread_node tasks",
        "signal_struct": "thread_head",
    },
)
STACK_SIZES = (8 << 10, 16 << 10, 32 << 10, 64 << 10)
KERNEL_CS = 0x10
"""__KERNEL_CS; what more a CPU with FRED puts into that word is above its 16 bits."""


@dataclass(frozen=True, slots=True)
class Stacks:
    """The stacks of many tasks, as columns."""

    tasks: Column
    starts: Column
    """Lowest address of each."""
    pointers: Column
    """thread.sp: right for those that do not run."""
    size_bytes: int

    def holding(self, rsp: int) -> int | None:
        """The row of the stack that an address lies in."""
        inside = np.flatnonzero(np.uint64(rsp) - self.starts < np.uint64(self.size_bytes))
        return int(inside[0]) if inside.size else None


def stack_size_bytes(kernel: Kernel) -> int:
    """THREAD_SIZE, by the initial stack. BadStructure when it makes no sense."""
    name = "__end_init_stack" if kernel.has_symbol("__end_init_stack") else "__end_init_task"
    size = kernel.symbol(name) - kernel.symbol("init_stack")
    if size not in STACK_SIZES:
        raise BadStructure(f"kernel stacks of {size} bytes", field=name, address=kernel.symbol(name))
    return size


def find_every_task(kernel: Kernel) -> Column:
    """All processes and threads, the first CPU's idle task included; those of other CPUs are on no list.

    BadStructure for more than MAX_TASKS, and for threads that never end.
    """
    leaders = np.append(find_tasks(kernel), np.uint64(kernel.symbol("init_task")))
    signals = kernel.read("task_struct", "signal", leaders)["signal"]
    node = np.uint64(kernel.offset("task_struct", "thread_node"))
    heads = signals + np.uint64(kernel.offset("signal_struct", "thread_head"))
    found = [leaders]
    count = leaders.size
    at = _next(kernel, heads)
    while True:
        # All thread groups at once, one more thread of each.
        left = (at != heads) & (at != 0)
        at, heads = at[left], heads[left]
        if not at.size:
            break
        found.append(at - node)
        count += at.size
        if count > MAX_TASKS:
            raise BadStructure(f"more than {MAX_TASKS:,} threads", field="signal_struct.thread_head")
        at = _next(kernel, at)
    return np.unique(np.concatenate(found))


def _next(kernel: Kernel, places: Column) -> Column:
    pointers: Column = kernel.memory.gather(places, 8).view("<u8").reshape(-1)
    return pointers


def read_stacks(kernel: Kernel, tasks: Column) -> Stacks:
    """Where the stacks of tasks are; of a task that has ended there is none any more."""
    columns = kernel.read("task_struct", "stack thread.sp", tasks)
    there = columns["stack"] != 0
    return Stacks(
        tasks[there], columns["stack"][there], columns["thread.sp"][there], stack_size_bytes(kernel)
    )


def interrupted_in(kernel: Kernel, stacks: Stacks, start: Gva, size_bytes: int) -> NDArray[np.bool_]:
    """Of each task, whether an interrupt or exception that is not over struck it in a part of the kernel's code.

    Stacks are read from their pointers up. BadStructure where a pointer is not in its stack or a page is not there.
    """
    inside = stacks.pointers - stacks.starts
    if (inside >= np.uint64(stacks.size_bytes)).any():
        row = int(np.flatnonzero(inside >= np.uint64(stacks.size_bytes))[0])
        raise BadStructure(
            "a stack pointer that is in no stack",
            field="task_struct.thread.sp",
            address=int(stacks.tasks[row]),
        )
    pages = stacks.size_bytes // PAGE_SIZE_BYTES
    # Every page from the one of the pointer on, those of one stack in a row.
    grid = stacks.starts[:, None] + np.arange(pages, dtype=np.uint64) * np.uint64(PAGE_SIZE_BYTES)
    live = grid + np.uint64(PAGE_SIZE_BYTES) > stacks.pointers[:, None]
    gvas, owners = grid[live], np.nonzero(live)[0]
    if not kernel.memory.mapped(gvas).all():
        raise BadStructure("a page of a kernel stack is not there", field="task_struct.stack")
    words = kernel.memory.gather(gvas, PAGE_SIZE_BYTES).view("<u8")
    places = gvas[:, None] + np.arange(PAGE_SIZE_BYTES // 8, dtype=np.uint64) * np.uint64(8)
    after = np.roll(words.reshape(-1), -1).reshape(words.shape)
    frames = (words - np.uint64(start) < np.uint64(size_bytes)) & (after & np.uint64(0xFFFF) == KERNEL_CS)
    frames &= places >= stacks.pointers[owners][:, None]
    struck = np.zeros(stacks.tasks.shape, dtype=bool)
    struck[owners[frames.any(axis=1)]] = True
    return struck
