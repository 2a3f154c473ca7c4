from __future__ import annotations

import struct

import msgspec
import numpy as np
import pytest

from tests.unit.linux.build import STACK_BYTES, VMALLOC, Guest
from vmon.core.address import Gva
from vmon.core.errors import BadStructure
from vmon.linux import stack
from vmon.linux.stack import find_every_task, interrupted_in, read_stacks, stack_size_bytes

CODE, CODE_BYTES = Gva(0xFFFF_FFFF_8000_0000), 0x1_0000
BOTH = pytest.mark.parametrize("model", ["new", "old"])


def frame(rip: int, cs: int = 0x10) -> bytes:
    """What an interrupt pushes."""
    return struct.pack("<5Q", rip, cs, 0x246, 0xFFFF_C900_0000_0000, 0x18)


def with_stack(guest: Guest, task: int, pointer: int = 0x3F00) -> int:
    """Give a task a stack; where it starts."""
    start = guest.alloc(STACK_BYTES, 4096)
    guest.set(task, "task_struct", {"stack": start, "thread.sp": start + pointer})
    return start


def struck(guest: Guest) -> list[bool]:
    kernel = guest.kernel()
    stacks = read_stacks(kernel, find_every_task(kernel))
    return interrupted_in(kernel, stacks, CODE, CODE_BYTES).tolist()


@BOTH
def test_every_process_and_thread_once(model: str) -> None:
    guest = Guest(model)
    made = [guest.process(pid, b"x", threads=threads) for pid, threads in ((1, 1), (2, 3), (3, 2))]
    tasks = [task for process in made for task in (process.task, *process.threads)]
    assert set(find_every_task(guest.kernel()).tolist()) == {guest.init_task, *tasks}


def test_threads_that_never_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "MAX_TASKS", 100)
    guest = Guest("new")
    made = guest.process(1, b"x")
    node = guest.at(made.task, "task_struct", "thread_node")
    guest.put64(node, node)
    with pytest.raises(BadStructure, match="more than 100 threads"):
        find_every_task(guest.kernel())


@BOTH
def test_the_size_is_that_of_the_first_stack(model: str) -> None:
    guest = Guest(model)
    assert stack_size_bytes(guest.kernel()) == STACK_BYTES
    symbols = {**guest.profile.symbols, "init_stack": 0}
    guest.profile = msgspec.structs.replace(guest.profile, symbols=symbols)
    with pytest.raises(BadStructure, match="kernel stacks of"):
        stack_size_bytes(guest.kernel())


@BOTH
def test_a_task_that_was_interrupted_in_the_code(model: str) -> None:
    guest = Guest(model)
    starts = [with_stack(guest, guest.process(pid, b"x").task) for pid in (1, 2, 3)]
    assert struck(guest) == [False] * 3
    guest.write(starts[1] + 0x3F10, frame(CODE + 0x123))
    assert struck(guest) == [False, True, False]
    kernel = guest.kernel()
    stacks = read_stacks(kernel, find_every_task(kernel))
    assert [stacks.holding(start + at) for start in starts for at in (0, 0x3FFF)] == [0, 0, 1, 1, 2, 2]
    assert stacks.holding(starts[2] + STACK_BYTES) is None


@pytest.mark.parametrize(
    ("at", "data", "expected"),
    [
        (0x3EF8, frame(CODE), False),  # below the pointer: old
        (0x3F00, frame(CODE), True),
        (0x3FD8, frame(CODE + CODE_BYTES - 1), True),
        (0x3F10, frame(CODE + CODE_BYTES), False),
        (0x3F10, frame(CODE - 1), False),
        (0x3F10, frame(CODE, cs=0x33), False),  # user mode
        (0x3F10, frame(CODE, cs=0x1_0010), True),  # as a CPU with FRED has it
        (0x3F10, struct.pack("<2Q", CODE, 0), False),  # an address that a call left behind
    ],
)
def test_what_is_a_frame_of_an_interrupt(at: int, data: bytes, expected: bool) -> None:
    guest = Guest("new")
    start = with_stack(guest, guest.process(1, b"x").task)
    guest.write(start + at, data)
    assert struck(guest) == [expected]


def test_a_frame_that_crosses_pages() -> None:
    guest = Guest("new")
    start = with_stack(guest, guest.process(1, b"x").task, pointer=0x2F00)
    guest.write(start + 0x2FF8, frame(CODE))
    assert struck(guest) == [True]


def test_a_task_that_has_ended_has_no_stack() -> None:
    guest = Guest("new")
    guest.process(1, b"x")
    assert struck(guest) == []


def test_a_pointer_that_lies_is_refused() -> None:
    guest = Guest("new")
    task = guest.process(1, b"x").task
    start = with_stack(guest, task)
    for pointer in (0, start - 8, start + STACK_BYTES):
        guest.set(task, "task_struct", {"thread.sp": pointer})
        with pytest.raises(BadStructure, match="in no stack"):
            struck(guest)


def test_a_page_that_is_not_there_is_refused() -> None:
    guest = Guest("new")
    task = guest.process(1, b"x").task
    start = VMALLOC[False] + 0x1000  # its second page is the last that is mapped
    guest.set(task, "task_struct", {"stack": start, "thread.sp": start + 0x800})
    with pytest.raises(BadStructure, match="not there"):
        struck(guest)


def test_pages_are_found_by_the_page_tables() -> None:
    """Two pages of vmalloc that lie in RAM the other way round, and a pointer in the second."""
    guest = Guest("new")
    task = guest.process(1, b"x").task
    start = VMALLOC[False] - STACK_BYTES + 0x2000
    guest.set(task, "task_struct", {"stack": start, "thread.sp": start + 0x3000})
    guest.heap[0x800 : 0x800 + 40] = frame(CODE)
    kernel = guest.kernel()
    stacks = read_stacks(kernel, np.array([task], dtype=np.uint64))
    assert interrupted_in(kernel, stacks, CODE, CODE_BYTES).tolist() == [True]
