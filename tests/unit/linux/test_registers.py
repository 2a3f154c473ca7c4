from __future__ import annotations

import struct

import numpy as np
import pytest

from tests.unit.linux.small import Small
from vmon.core.errors import BadStructure
from vmon.linux.registers import NAMES, REGS_BYTES, WANTS, Thread, padding_bytes, read_threads

STACK = 16 << 10
STRUCTS = {
    "thread_struct": "sp:u64 es:u16 ds:u16 fsindex:u16 gsindex:u16 fsbase:u64 gsbase:u64",
    "thread_info": "flags:u64 cpu:u32",
    "task_struct": "thread_info:thread_info __state:u32 stack:p flags:u32 on_cpu:s32 exit_state:s32 pid:s32 "
    "comm:char*16 thread:thread_struct",
}
SYMBOLS = {"init_task": 64, "init_stack": STACK, "__end_init_stack": 64}


def made(padding: int = 0) -> Small:
    symbols = dict(SYMBOLS)
    if padding >= 0:
        symbols["__top_init_kernel_stack"] = 64
    small = Small(WANTS, STRUCTS, symbols)
    if padding >= 0:
        places = small.profile.symbols
        places["__top_init_kernel_stack"] = places["__end_init_stack"] - REGS_BYTES - padding
    return small


def task(small: Small, padding: int = 0, **values: object) -> int:
    stack = small.alloc(STACK, 4096)
    words = {name: 0x100 + number for number, name in enumerate(NAMES)}
    words |= {"cs": 0xDEAD_0033, "ss": 0xBEEF_002B}
    small.write(stack + STACK - padding - REGS_BYTES, struct.pack(f"<{len(NAMES)}Q", *words.values()))
    fields = {
        "pid": 42, "comm": b"one", "stack": stack, "__state": 1, "thread__fsbase": 0x7F00, "thread__gsbase": 0x1,
        "thread__ds": 7, "thread__sp": stack + 0x3000,
    }  # fmt: skip
    return small.new("task_struct", **(fields | values))


def threads(small: Small, *tasks: int) -> list[Thread]:
    return read_threads(small.kernel(), np.array(tasks, dtype=np.uint64))


@pytest.mark.parametrize("padding", [-1, 0, 16], ids=["no symbol", "none", "FRED"])
def test_registers_lie_at_the_top_of_the_stack(padding: int) -> None:
    small = made(padding)
    (thread,) = threads(small, task(small, max(padding, 0)))
    assert (thread.tid, thread.name, thread.state, thread.on_cpu) == (42, b"one", "S", None)
    registers = thread.registers
    assert registers is not None
    assert registers["r15"] == 0x100
    assert (registers["rip"], registers["rsp"], registers["cs"], registers["ss"]) == (
        0x110,
        0x113,
        0x33,
        0x2B,
    )
    assert (registers["fs_base"], registers["gs_base"], registers["ds"], registers["fs"]) == (0x7F00, 1, 7, 0)
    assert len(registers) == 27
    assert thread.stack_pointer == thread.stack + 0x3000


def test_what_has_no_registers() -> None:
    small = made()
    found = threads(
        small,
        task(small, flags=0x0020_0000),
        task(small, flags=0x10),
        task(small, stack=0),
        task(small, stack=0xFFFF_C900_0000_0000),
        task(small, on_cpu=1, thread_info__cpu=3),
    )
    assert [thread.registers is None for thread in found] == [True, True, True, True, False]
    assert [thread.on_cpu for thread in found] == [None, None, None, None, 3]


def test_a_padding_that_makes_no_sense() -> None:
    small = made(1000)
    with pytest.raises(BadStructure, match="above the registers"):
        padding_bytes(small.kernel())
