"""A thread's registers in user space lie at the top of its kernel stack while it is in the kernel: struct pt_regs.

Reads task_struct and 168 bytes of each stack. The order of pt_regs is ABI (it is that of ptrace). Of a thread that a
CPU runs right now the kernel has only what it pushed when it last entered the kernel: old, and said to be so. A hostile
guest can write any numbers; they are shown, nothing is done with them.
Sources: arch/x86/include/asm/{ptrace,processor,thread_info}.h, arch/x86/kernel/process_64.c.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vmon.core.errors import BadStructure
from vmon.kernel.columns import Column, text_rows
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel
from vmon.linux.stack import WANTS as STACK_WANTS
from vmon.linux.stack import stack_size_bytes
from vmon.linux.task import PF_KTHREAD, decode_states

# on_cpu is there on kernels for more than one CPU.
THREAD_FIELDS = (
    "pid comm flags stack on_cpu thread.fsbase thread.gsbase thread.fsindex thread.gsindex thread.ds thread.es "
    "__state|state exit_state thread_info.cpu|cpu thread.sp"
)
COLUMN_FIELDS = " ".join(word.split("|")[0] for word in THREAD_FIELDS.split())
WANTS = STACK_WANTS | Wants(symbols=("__top_init_kernel_stack",), structs={"task_struct": THREAD_FIELDS})
ORDER = "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss"
NAMES = tuple(ORDER.split())
OTHERS = ("fs_base", "gs_base", "ds", "es", "fs", "gs")
"""What follows in struct user_regs_struct, and lies in task_struct.thread."""
REGS_BYTES = 8 * len(NAMES)
SELECTORS = ("cs", "ss")
"""What more a CPU with FRED puts into these words is above their 16 bits."""
PF_USER_WORKER, PF_IO_WORKER = 0x4000, 0x10
MAX_PADDING_BYTES = 64


@dataclass(frozen=True, slots=True)
class Thread:
    """One thread, as far as its registers and its stack go."""

    task: int
    tid: int
    name: bytes
    state: str
    stack: int
    """Lowest address of its kernel stack; 0 when it has none any more."""
    stack_pointer: int
    """Where it stood in the kernel when it was last switched away from."""
    on_cpu: int | None
    """The CPU that runs it right now."""
    registers: dict[str, int] | None
    """In user space, by the names of ptrace; None for what has no user space."""


def padding_bytes(kernel: Kernel) -> int:
    """TOP_OF_KERNEL_STACK_PADDING: what lies above pt_regs, 16 bytes on kernels that know FRED (6.9, df8838737b36)."""
    if not (kernel.has_symbol("__top_init_kernel_stack") and kernel.has_symbol("__end_init_stack")):
        return 0
    padding = kernel.symbol("__end_init_stack") - kernel.symbol("__top_init_kernel_stack") - REGS_BYTES
    if not 0 <= padding <= MAX_PADDING_BYTES:
        raise BadStructure(f"{padding} bytes above the registers of a stack", field="__top_init_kernel_stack")
    return padding


def read_threads(kernel: Kernel, tasks: Column) -> list[Thread]:
    """Registers of many threads. One gather each of task_struct and of the stacks."""
    columns = kernel.read("task_struct", COLUMN_FIELDS, tasks)
    places = columns["stack"] + np.uint64(stack_size_bytes(kernel) - padding_bytes(kernel) - REGS_BYTES)
    there = (columns["stack"] != 0) & kernel.memory.mapped(places)
    rows = kernel.memory.gather(places, REGS_BYTES).view("<u8").tolist()
    own = columns["flags"] & np.uint64(PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER) == 0
    sane = there & own
    names = text_rows(columns.raw("comm"))
    states = decode_states(columns["__state"], columns["exit_state"])
    running = columns["on_cpu"].tolist() if "on_cpu" in columns else [0] * columns.count
    others = [
        columns[f"thread.{name}"].tolist() for name in ("fsbase", "gsbase", "ds", "es", "fsindex", "gsindex")
    ]
    found = []
    for row, tid in enumerate(columns["pid"].tolist()):
        registers = None
        if sane[row]:
            registers = dict(zip(NAMES, rows[row], strict=True))
            for name in SELECTORS:
                registers[name] &= 0xFFFF
            registers.update(zip(OTHERS, (values[row] for values in others), strict=True))
        found.append(
            Thread(
                task=int(tasks[row]),
                tid=tid,
                name=names[row],
                state=states[row],
                stack=int(columns["stack"][row]),
                stack_pointer=int(columns["thread.sp"][row]),
                on_cpu=int(columns["thread_info.cpu"][row]) if running[row] else None,
                registers=registers,
            )
        )
    return found
