from __future__ import annotations

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.unit.linux.build import AT, BUILD_ID, HEAP_GPA, RELEASE, RODATA_GPA, Guest
from tests.unit.linux.scene import Scene
from tests.unit.monitor.connection import FakeConnection
from vmon.core.errors import IdentifyError, NoKernelYet, NoSuchProcess, TargetGone
from vmon.monitor import machine
from vmon.monitor.machine import VirtualMachine


class Clock:
    """Time as the test says; sleeping advances it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setenv("VMON_CACHE_DIR", str(tmp_path))
    made = Clock()
    monkeypatch.setattr(machine, "time", made)
    return made


def second_guest() -> Guest:
    """Another boot of the same kernel: the same image, other processes."""
    guest = Guest("new")
    guest.process(1, b"init2")
    guest.process(500, b"after")
    return guest


def put(connection: FakeConnection, name: str, value: bytes) -> None:
    connection.ram.guest_writes(RODATA_GPA + AT[name], value)


def tick(connection: FakeConnection, jiffies: int) -> None:
    put(connection, "jiffies_64", struct.pack("<Q", jiffies))


def test_the_guest_as_a_whole(clock: Clock) -> None:
    with VirtualMachine("lab:x", FakeConnection(Scene("new").guest)) as vm:
        guest = vm.guest
    assert (guest.target, guest.os, guest.release, guest.build_id) == (
        "lab:x",
        "Linux",
        RELEASE,
        BUILD_ID.hex(),
    )
    assert (guest.hostname, guest.architecture, guest.paging_levels) == ("fake\udcff", "x86_64", 4)
    assert (guest.hypervisor, guest.ram_access, guest.profile_from_cache) == ("tcg, QEMU 0.0", "fake", False)
    assert guest.ram_size == sum(part.size_bytes for part in vm.ram.ranges)
    assert [item.passed for item in guest.evidence] == [True] * 9
    assert len(guest.coverage) == 3


def test_a_dump_says_that_it_cannot_tell_whether_the_kernel_ran(clock: Clock) -> None:
    with VirtualMachine("dump:x", FakeConnection(Scene("new").guest, live=False)) as vm:
        assert any("no registers" in sentence for sentence in vm.guest.coverage)


def test_the_second_attach_knows_the_build(clock: Clock) -> None:
    for known in (False, True):
        with VirtualMachine("lab:x", FakeConnection(Scene("new").guest)) as vm:
            assert vm.guest.profile_from_cache is known
            assert len(vm.processes()) == 5


def test_processes_and_one_of_them(clock: Clock) -> None:
    connection = FakeConnection(Scene("new").guest)
    with VirtualMachine("lab:x", connection) as vm:
        assert [process.pid for process in vm.processes()] == [1, 2, 42, 77, 99]
        assert vm.process(42).name == "worker"
        for pid in (0, -5, 43, 4711, 1 << 40):
            with pytest.raises(NoSuchProcess) as caught:
                vm.process(pid)
            assert caught.value.exit_code == 21
        assert len(vm.sockets()) == 5
        assert connection.closed == 0
    assert connection.closed == 1


def test_a_quiet_guest_is_not_identified_again(clock: Clock) -> None:
    connection = FakeConnection(Scene("new").guest)
    vm = VirtualMachine("lab:x", connection)
    first = vm.kernel
    for _ in range(20):
        clock.now += 0.3
        assert vm.kernel is first
    assert vm.reboots == 0


def test_a_reset_is_noticed_and_the_next_kernel_identified(clock: Clock) -> None:
    connection = FakeConnection(Scene("new").guest)
    vm = VirtualMachine("lab:x", connection)
    assert vm.reboots == 0
    connection.boot(second_guest())
    clock.now += machine.HYPERVISOR_CHECK_S + 0.01
    assert [process.name for process in vm.processes()] == ["init2", "after"]
    assert vm.reboots == 1
    clock.now += 1
    assert [process.pid for process in vm.processes()] == [1, 500]
    assert vm.reboots == 1


def test_who_must_be_sure_learns_of_a_reset_at_once(clock: Clock) -> None:
    connection = FakeConnection(Scene("new").guest)
    vm = VirtualMachine("lab:x", connection)
    kernel = vm.kernel
    assert vm._current(closely=True) is kernel
    connection.boot(second_guest())
    assert vm._current() is kernel
    assert vm._current(closely=True) is not kernel
    assert vm.reboots == 1


def test_who_must_be_sure_asks_the_cpu(clock: Clock) -> None:
    scene = Scene("new")
    nowhere = scene.guest.alloc(4096, 4096)
    connection = FakeConnection(scene.guest)
    vm = VirtualMachine("lab:x", connection)
    cpu = connection.machine.cpus[0]
    connection.machine.cpus = [type(cpu)(0, scene.guest.gpa(nowhere), cpu.cr4, cpu.efer, cpu.rip, cpu.cpl)]
    vm._current()
    with pytest.raises(IdentifyError, match="the CPU does not run on it"):
        vm._current(closely=True)


def test_a_reset_before_the_attach_counts_for_nothing(clock: Clock) -> None:
    connection = FakeConnection(Scene("new").guest)
    connection.machine.resets = 7
    vm = VirtualMachine("lab:x", connection)
    clock.now += 1
    vm.processes()
    assert vm.reboots == 0


def test_bases_that_changed_are_another_boot_without_any_event(clock: Clock) -> None:
    connection = FakeConnection(Scene("new").guest, live=False)
    vm = VirtualMachine("dump:x", connection)
    moved = Guest("new", la57=True)
    moved.process(1, b"moved")
    connection.boot(moved, reset=False)
    assert [process.name for process in vm.processes()] == ["moved"]
    assert vm.reboots == 1
    assert vm.guest.paging_levels == 5


def test_another_build_is_another_boot(clock: Clock) -> None:
    connection = FakeConnection(Scene("new").guest)
    vm = VirtualMachine("lab:x", connection)
    other = second_guest()
    other.image[AT["__start_notes"] + 16] ^= 0xFF
    connection.boot(other, reset=False)
    assert vm.guest.build_id != BUILD_ID.hex()
    assert vm.reboots == 1


def test_while_the_next_kernel_is_not_there_the_old_one_is_not_shown(clock: Clock) -> None:
    connection = FakeConnection(Scene("new").guest)
    vm = VirtualMachine("lab:x", connection)
    connection.boot(Guest("new"))  # a kernel with the swapper alone
    clock.now += 1
    for _ in range(3):
        with pytest.raises(NoKernelYet, match="only the swapper"):
            vm.processes()
    assert vm.reboots == 0
    connection.boot(second_guest(), reset=False)
    assert [process.name for process in vm.processes()] == ["init2", "after"]
    assert vm.reboots == 1


def test_a_standing_clock_asks_the_cpu_and_kexec_is_noticed(clock: Clock) -> None:
    """kexec sends no event and leaves the old kernel whole; its clock stands and CR3 is elsewhere."""
    scene = Scene("new")
    nowhere = scene.guest.alloc(4096, 4096)
    connection = FakeConnection(scene.guest)
    vm = VirtualMachine("lab:x", connection)
    cpu = connection.machine.cpus[0]
    vm.processes()
    clock.now += machine.CLOCK_ALARM_S + 1
    assert len(vm.processes()) == 5  # an idle guest: the clock stands, but the CPU is in this kernel
    connection.machine.cpus = [type(cpu)(0, scene.guest.gpa(nowhere), cpu.cr4, cpu.efer, cpu.rip, cpu.cpl)]
    clock.now += machine.CLOCK_ALARM_S + 1
    with pytest.raises(IdentifyError, match="the CPU does not run on it"):
        vm.processes()


def test_a_running_clock_or_a_paused_guest_asks_no_registers(clock: Clock) -> None:
    connection = FakeConnection(Scene("new").guest)
    vm = VirtualMachine("lab:x", connection)
    connection.machine.cpus = []  # asking would be an IndexError
    for jiffies in range(5):
        tick(connection, 10_000 + jiffies)
        clock.now += machine.CLOCK_ALARM_S + 1
        assert len(vm.processes()) == 5
    connection.machine.status = "paused"
    for _ in range(3):
        clock.now += machine.CLOCK_ALARM_S + 1
        assert len(vm.processes()) == 5


def test_a_hypervisor_that_went_away_is_said(clock: Clock) -> None:
    connection = FakeConnection(Scene("new").guest)
    vm = VirtualMachine("lab:x", connection)
    connection.machine.gone = True
    clock.now += 1
    with pytest.raises(TargetGone):
        vm.processes()


def test_waiting_for_a_kernel_to_settle(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = FakeConnection(Guest("new"))
    with pytest.raises(NoKernelYet):
        VirtualMachine("lab:x", connection)
    begin = clock.now
    with pytest.raises(NoKernelYet):
        VirtualMachine("lab:x", connection, wait_s=2)
    assert 2 <= clock.now - begin < 3

    def sleep(seconds: float) -> None:
        clock.now += seconds
        if clock.now > begin + 3:
            connection.boot(second_guest(), reset=False)

    monkeypatch.setattr(clock, "sleep", sleep)
    assert len(VirtualMachine("lab:x", connection, wait_s=5).processes()) == 2


def test_a_build_id_that_is_unmapped_under_it_is_another_boot(clock: Clock) -> None:
    connection = FakeConnection(Scene("new").guest)
    vm = VirtualMachine("lab:x", connection)
    connection.ram.memory = {HEAP_GPA: connection.ram.memory[HEAP_GPA]}
    connection.ram._ranges = connection.ram._ranges[1:]
    with pytest.raises(IdentifyError):
        vm.processes()


class Family:
    """Columns of a guest that lies: pid 2 is its own parent, 3 and 4 each other's, and 5 is there twice."""

    pid = (1, 2, 3, 4, 5, 5, 6)
    parent_key = (None, "2", "4", "3", "1", "1", "5")

    def key(self, row: int) -> str:
        return str(self.pid[row])

    def record(self, row: int) -> int:
        return row


@pytest.mark.parametrize(("pid", "rows"), [(1, [0, 4, 5, 6]), (2, [1]), (3, [2, 3]), (5, [4, 6])])
def test_descendants_of_a_guest_that_lies_are_each_told_once(pid: int, rows: list[int]) -> None:
    vm = SimpleNamespace(snapshot=Family)
    assert VirtualMachine.descendants(cast("VirtualMachine", vm), pid) == rows
