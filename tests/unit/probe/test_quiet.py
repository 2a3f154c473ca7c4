from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.unit.linux.build import AT, RODATA_GVA, TEXT_GVA, Guest
from tests.unit.linux.test_stack import frame, with_stack
from vmon.core.address import Gpa
from vmon.core.ports import Registers
from vmon.probe.abi import load_abi
from vmon.probe.place import SLOT_GVA
from vmon.probe.quiet import LONG_MODE, lingering
from vmon.probe.window import Window
from vmon.transport.fake import FakeRam

ABI = load_abi()
PERCPU = 64
"""How far the fake's second CPU keeps its variables from the first's."""


class Machine:
    """Two CPUs: the first runs process 1, the second process 2; process 3 sleeps."""

    def __init__(self) -> None:
        self.guest = Guest("new")
        self.tasks = [self.guest.process(pid, b"x").task for pid in (1, 2, 3)]
        self.stacks = [with_stack(self.guest, task) for task in self.tasks]
        self.runs(0, self.tasks[0])
        self.runs(1, self.tasks[1])
        self.ram = FakeRam({0x1000: bytes(0x4000)})
        self.window = Window(self.ram, self.ram, Gpa(0x1000))
        self.window.map(ABI.sizes["STATE_AT"], [Gpa(0x2000), Gpa(0x3000)], writable=True)
        self.cpus = [self.in_user_mode(0), self.in_user_mode(1)]

    def runs(self, cpu: int, task: int) -> None:
        self.guest.put64(RODATA_GVA + AT["current_task"] + cpu * PERCPU, task)

    def in_user_mode(self, cpu: int) -> Registers:
        return Registers(cpu, 0, 0, LONG_MODE, 0x40_1000, 3, 0x7FFF_0000)

    def in_kernel(self, cpu: int, rsp: int, rip: int = TEXT_GVA + 0x100) -> Registers:
        return Registers(cpu, 0, 0, LONG_MODE, rip, 0, rsp)

    def look(self, cpus: Sequence[Registers] | None = None) -> str:
        return lingering(self.guest.kernel(), ABI, self.window, cpus or self.cpus)


def test_nobody() -> None:
    machine = Machine()
    assert machine.look() == ""
    machine.cpus[1] = machine.in_kernel(1, machine.stacks[1] + 0x3000)
    assert machine.look() == ""


@pytest.mark.parametrize(
    ("name", "said"), [("in_flight", "in flight"), ("waiting", "waits"), ("mailbox.busy", "mailbox")]
)
def test_who_is_counted(name: str, said: str) -> None:
    machine = Machine()
    offset, size = ABI.member("state", name)
    machine.window.write(ABI.sizes["STATE_AT"] + offset + size - 4, b"\1")
    assert said in machine.look()


def test_who_runs_in_it() -> None:
    machine = Machine()
    machine.cpus[0] = machine.in_kernel(0, machine.stacks[0] + 0x3000, SLOT_GVA + 0x40)
    assert machine.look() == "CPU 0 runs in it"


def test_who_sleeps_and_was_interrupted_in_it() -> None:
    machine = Machine()
    machine.guest.write(machine.stacks[2] + 0x3F20, frame(SLOT_GVA + 0xD20))
    assert machine.look() == "1 tasks were interrupted in it"


def test_a_stack_of_a_cpu_in_the_kernel_is_read_from_its_own_pointer() -> None:
    machine = Machine()
    machine.guest.write(machine.stacks[1] + 0x3400, frame(SLOT_GVA + 0x20))
    assert machine.look() == "", "it is in user mode: what stands there is old"
    machine.cpus[1] = machine.in_kernel(1, machine.stacks[1] + 0x3500)
    assert machine.look() == "", "below its pointer"
    machine.cpus[1] = machine.in_kernel(1, machine.stacks[1] + 0x3300)
    assert machine.look() == "1 tasks were interrupted in it"


@pytest.mark.parametrize("where", ["an interrupt's stack", "the next task's"])
def test_a_cpu_that_is_not_on_the_stack_of_what_it_runs(where: str) -> None:
    """Then it is not known where the stack of what it ran ends."""
    machine = Machine()
    rsp = machine.stacks[2] + 0x3000 if where == "the next task's" else TEXT_GVA + 0x10_0000
    machine.cpus[0] = machine.in_kernel(0, rsp)
    assert machine.look() == "CPU 0 serves an interrupt or changes tasks"


def test_a_cpu_that_was_never_started_runs_nothing() -> None:
    machine = Machine()
    machine.cpus[1] = Registers(1, 0, 0, 0, 0xFFF0, 0, 0)
    machine.runs(1, machine.guest.init_task)
    assert machine.look() == ""


def test_an_idle_task_that_is_on_no_list() -> None:
    machine = Machine()
    idle = machine.guest.new("task_struct")
    start = with_stack(machine.guest, idle)
    machine.runs(1, idle)
    machine.cpus[1] = machine.in_kernel(1, start + 0x3E00)
    assert machine.look() == ""
    machine.guest.write(start + 0x3E80, frame(SLOT_GVA))
    assert machine.look() == "1 tasks were interrupted in it"


def test_a_stack_that_makes_no_sense_is_no_peace() -> None:
    machine = Machine()
    machine.guest.set(machine.tasks[2], "task_struct", {"thread.sp": 8})
    assert machine.look().startswith("a stack can't be read")
