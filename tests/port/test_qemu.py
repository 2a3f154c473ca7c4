"""A real QEMU: where its RAM is, who holds its socket, what happens when it goes."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.port.conftest import PATIENCE_S, Machine, memfd, qemu, write_guest
from tests.port.scene import pattern
from vmon.core.address import Gpa
from vmon.core.errors import DumpFormatError, TargetBusy, TargetError, TargetGone, TargetNotFound
from vmon.core.ports import ReadPhys, ReadRegs, WatchVm
from vmon.transport.dump import open_dump, write_dump
from vmon.transport.guests import FoundGuest, find_guests, knock
from vmon.transport.qemu import QemuGuest, attach_pid, attach_qemu, qmp
from vmon.transport.qemu.monitor_text import host_address
from vmon.transport.qemu.qmp import QmpConnection, connect
from vmon.transport.ram import MappedRam, ProcessRam

GIB = 1 << 30


def write_at(guest: QemuGuest, gpa: int, data: bytes) -> None:
    write_guest(guest.pid, host_address(guest.qmp.monitor([f"gpa2hva {gpa:#x}"])[0]), data)


def examine(guest: QemuGuest, gpa: int, size_bytes: int) -> bytes:
    """Bytes as the vCPU sees them, by QEMU's own xp."""
    text = guest.qmp.monitor([f"xp /{size_bytes}xb {gpa:#x}"])[0]
    return bytes(int(word, 16) for line in text.splitlines() for word in line.partition(":")[2].split())


@pytest.mark.parametrize(
    ("machine_name", "low_end_gpa", "ram_class"),
    [("pc_6g_memfd", 3 * GIB, MappedRam), ("q35_6g_anonymous", 2 * GIB, ProcessRam)],
)
def test_ram_on_both_sides_of_the_pci_hole(
    request: pytest.FixtureRequest, machine_name: str, low_end_gpa: int, ram_class: type, tmp_path: Path
) -> None:
    machine: Machine = request.getfixturevalue(machine_name)
    with attach_qemu(machine.qmp_path) as guest:
        assert isinstance(guest.ram, ram_class) and isinstance(guest.ram, ReadPhys)
        assert guest.ranges[-1].gpa == 4 * GIB and guest.ranges[-2].end_gpa == low_end_gpa
        high_end_gpa = 4 * GIB + 6 * GIB - low_end_gpa
        assert guest.ranges[-1].end_gpa == high_end_gpa
        places = (0x1000, 0x100000, low_end_gpa - 64, 4 * GIB, 4 * GIB + 0x123456, high_end_gpa - 64)
        for seed, gpa in enumerate(places):
            data = pattern(seed, 64)
            write_at(guest, gpa, data)
            assert examine(guest, gpa, 64) == data
            assert guest.ram.read(Gpa(gpa), 64) == data
            file = tmp_path / f"{seed}.bin"
            guest.qmp.execute("pmemsave", {"val": gpa, "size": 64, "filename": str(file)})
            assert file.read_bytes() == data
        rows = guest.ram.gather(np.array(places, np.uint64), 64)
        assert [row.tobytes() for row in rows] == [pattern(seed, 64) for seed in range(len(places))]
        gap = np.array([low_end_gpa - 1, low_end_gpa, 4 * GIB - 8, high_end_gpa - 7], np.uint64)
        assert not guest.ram.contains(gap, 8).any()


def test_what_attach_tells(pc_6g_memfd: Machine) -> None:
    with attach_qemu(pc_6g_memfd.qmp_path) as guest:
        assert isinstance(guest, ReadRegs) and isinstance(guest, WatchVm)
        assert (guest.pid, guest.name, guest.accel, guest.cpus) == (pc_6g_memfd.pid, "six", "tcg", 1)
        assert guest.qemu_version.split(".")[0].isdigit()
        registers = guest.registers()
        assert (registers.rip, registers.cr3, registers.cpl) == (0xFFF0, 0, 0)
        assert guest.state().status == "prelaunch"


def test_registers_of_each_cpu(two_nodes: Machine) -> None:
    with attach_qemu(two_nodes.qmp_path) as guest:
        assert [guest.registers(cpu).cpu for cpu in range(guest.cpus)] == [0, 1]


def test_resets_are_counted() -> None:
    with qemu("-m", "32M") as machine, attach_qemu(machine.qmp_path) as guest:
        assert guest.state().resets == 0
        guest.qmp.execute("system_reset")
        assert guest.state().resets == 1
        guest.qmp.execute("system_reset")
        assert guest.state().resets == 2


def test_a_taken_socket_is_busy_and_free_again_after(two_nodes: Machine) -> None:
    with attach_qemu(two_nodes.qmp_path):
        with pytest.raises(TargetBusy) as caught:
            attach_qemu(two_nodes.qmp_path)
        assert two_nodes.qmp_path in caught.value.message and caught.value.hint
        with pytest.raises(TargetBusy):
            attach_pid(two_nodes.pid)
    attach_pid(two_nodes.pid).close()


def test_hot_plugged_ram_is_seen_by_the_next_attach() -> None:
    with qemu("-M", "q35", "-m", "64M,slots=2,maxmem=1G", *memfd("64M")) as machine:
        with attach_qemu(machine.qmp_path) as guest:
            before_bytes = sum(r.size_bytes for r in guest.ranges)
        # A second file is mapped beside the first; one piece of private memory, and all goes by the process.
        for kind, expected in (("memory-backend-memfd", MappedRam), ("memory-backend-ram", ProcessRam)):
            with attach_qemu(machine.qmp_path) as guest:
                guest.qmp.execute("object-add", {"qom-type": kind, "id": kind, "size": 128 << 20})
                guest.qmp.execute("device_add", {"driver": "pc-dimm", "id": f"dimm-{kind}", "memdev": kind})
            with attach_qemu(machine.qmp_path) as guest:
                assert isinstance(guest.ram, expected)
                last_gpa = guest.ranges[-1].end_gpa - 16
                write_at(guest, last_gpa, b"the last 16 byte")
                assert guest.ram.read(Gpa(last_gpa), 16) == b"the last 16 byte"
                rows = guest.ram.gather(np.array([last_gpa, 0], np.uint64), 16)
                assert rows[0].tobytes() == b"the last 16 byte"
                added_bytes = sum(r.size_bytes for r in guest.ranges) - before_bytes
        assert added_bytes == 256 << 20


def test_a_guest_that_ends_is_gone() -> None:
    with qemu("-m", "32M") as machine:
        guest = attach_qemu(machine.qmp_path)
        machine.kill()
        for ask in (
            guest.state,
            guest.registers,
            lambda: guest.ram.read(Gpa(0), 8),
            lambda: guest.ram.read(Gpa(0), 8192),
            lambda: guest.ram.gather(np.array([0, 8], np.uint64), 8),
            lambda: list(guest.ram.populated()),
        ):
            with pytest.raises(TargetGone):
                ask()
        guest.close()
        guest.close()
        with pytest.raises(TargetGone):
            attach_qemu(machine.qmp_path)
        with pytest.raises(TargetNotFound):
            attach_pid(machine.pid)


def test_process_ram_goes_on_without_the_right_to_attach(q35_6g_anonymous: Machine) -> None:
    """The slow gather: what is left when privileges were dropped after attach."""
    with attach_qemu(q35_6g_anonymous.qmp_path) as guest:
        assert isinstance(guest.ram, ProcessRam)
        write_at(guest, 0x5000, b"abcdefgh")
        gpas = np.array([0x5000, 0x5004, 1 << 40, 4 * GIB], np.uint64)
        fast = guest.ram.gather(gpas, 8)
        guest.ram._many_at_once = False
        assert np.array_equal(guest.ram.gather(gpas, 8), fast)
        assert fast[0].tobytes() == b"abcdefgh" and not fast[2].any()


def test_pid_by_relative_chardev_and_unnamed_sockets() -> None:
    control = ["-chardev", "socket,id=c,path=mon.sock,server=on,wait=off", "-mon", "chardev=c,mode=control"]
    with qemu("-m", "32M", *control, qmp=False) as machine:
        machine.wait_for(machine.folder / "mon.sock")
        with attach_pid(machine.pid) as guest:
            assert guest.pid == machine.pid
        path = str(machine.folder / "mon.sock")
        with attach_qemu(path) as guest:
            assert guest.pid == machine.pid


def test_nobody_knocks_where_another_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """A knock there takes a quarter of a second, and the third stays in the way of everybody for one."""
    second = ["-qmp", "unix:second.sock,server=on,wait=off"]
    with qemu("-m", "32M", *second) as machine:
        machine.wait_for(machine.folder / "second.sock")
        knocked: list[str] = []

        def knock(path: str, seconds: float) -> QmpConnection:
            knocked.append(path)
            return QmpConnection(path, seconds)

        monkeypatch.setattr("vmon.transport.qemu.guest.QmpConnection", knock)
        with attach_pid(machine.pid) as one, attach_pid(machine.pid) as other:
            assert one.pid == other.pid == machine.pid
        assert len(knocked) == len(set(knocked)) == 2


def test_pid_of_a_qemu_without_qmp() -> None:
    with qemu("-m", "32M", "-monitor", "unix:hmp.sock,server=on,wait=off", qmp=False) as machine:
        machine.wait_for(machine.folder / "hmp.sock")
        with pytest.raises(TargetError, match="no QMP socket") as caught:
            attach_pid(machine.pid)
        assert "-qmp unix:" in caught.value.hint
        with pytest.raises(TargetError, match="does not speak QMP"):
            attach_qemu(str(machine.folder / "hmp.sock"))


@contextmanager
def handed_over(folder: Path) -> Iterator[tuple[int, str]]:
    """A QEMU whose QMP socket was opened by another process, as libvirt does it."""
    path = str(folder / "handed.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        fd = listener.fileno()
        process = subprocess.Popen(
            f"qemu-system-x86_64 -display none -nodefaults -accel tcg -S -m 32M -name guest=handed "
            f"-chardev socket,id=charmonitor,fd={fd},server=on,wait=off "
            f"-mon chardev=charmonitor,id=monitor,mode=control".split(),
            pass_fds=[fd],
        )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while knock([path])[path].state != "free" and time.monotonic() < deadline:
            pass
        yield process.pid, path
    finally:
        process.kill()
        process.wait()


def test_a_socket_handed_over_by_another_process(tmp_path: Path) -> None:
    with handed_over(tmp_path) as (pid, path):
        with attach_qemu(path) as guest:
            assert (guest.pid, guest.name) == (pid, "handed")
        with attach_pid(pid) as guest:
            assert guest.qmp_path == path
        found = find_offering(pid, "free")
        assert [(offer.path, offer.state) for offer in found[pid].qmp] == [(path, "free")]


def find_offering(pid: int, state: str) -> dict[int, FoundGuest]:
    """The guests of this host, once the QMP sockets of one are in a state.

    QEMU takes a moment to notice that a client hung up, and on a busy host longer to greet than somebody knocks.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = {guest.pid: guest for guest in find_guests()}
        if {offer.state for offer in found[pid].qmp} == {state} or time.monotonic() > deadline:
            return found
        time.sleep(0.01)


def test_guests_of_this_host(
    pc_6g_memfd: Machine, q35_6g_anonymous: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    knocked: list[str] = []

    def note(path: str, seconds: float) -> socket.socket:
        knocked.append(path)
        return connect(path, seconds=seconds)

    with attach_qemu(q35_6g_anonymous.qmp_path):
        monkeypatch.setattr(qmp, "connect", note)
        found = find_offering(pc_6g_memfd.pid, "free")
        monkeypatch.undo()
    assert pc_6g_memfd.qmp_path in knocked
    assert q35_6g_anonymous.qmp_path not in knocked, "who waits at a busy socket is in the way of the next"
    six, other = found[pc_6g_memfd.pid], found[q35_6g_anonymous.pid]
    assert (six.name, six.accel, six.ram_bytes, six.memory, six.problem) == (
        "six",
        "tcg",
        6 * GIB,
        "mapped",
        "",
    )
    assert [offer.state for offer in six.qmp] == ["free"]
    assert (other.machine, other.memory, other.ram_bytes) == ("q35", "process", 6 * GIB)
    assert [offer.state for offer in other.qmp] == ["busy"] and "taken" in other.problem
    # Looking left the sockets free.
    attach_qemu(pc_6g_memfd.qmp_path).close()


def test_a_qemu_waiting_for_its_first_client_is_not_knocked_at() -> None:
    with qemu("-m", "32M", "-qmp", "unix:wait.sock,server=on,wait=on", qmp=False) as machine:
        machine.wait_for(machine.folder / "wait.sock")
        found = next(guest for guest in find_guests() if guest.pid == machine.pid)
        assert [offer.state for offer in found.qmp] == ["waiting"] and not found.problem
        assert find_guests()
        with attach_pid(machine.pid) as guest:
            assert guest.state().status == "prelaunch"


def test_dumps_that_qemu_writes(two_nodes: Machine, tmp_path: Path) -> None:
    with attach_qemu(two_nodes.qmp_path) as guest:
        write_at(guest, 0x1234000, b"in the first node")
        write_at(guest, 0x3234000, b"in the second node")
        for paging in (False, True):
            file = tmp_path / f"core-{paging}"
            guest.qmp.execute("dump-guest-memory", {"paging": paging, "protocol": f"file:{file}"})
            if paging:  # with paging off in the guest there is nothing to list by virtual address
                continue
            dump = open_dump(file)
            assert dump.kind == "elf"
            assert dump.read(Gpa(0x1234000), 17) == b"in the first node"
            assert dump.read(Gpa(0x3234000), 18) == b"in the second node"
            dump.close()
        ours = write_dump(guest.ram, tmp_path / "ours", "elf")
        assert ours.ram_bytes == sum(r.size_bytes for r in guest.ranges)
        kdump = tmp_path / "kdump"
        guest.qmp.execute(
            "dump-guest-memory", {"paging": False, "protocol": f"file:{kdump}", "format": "kdump-zlib"}
        )
        with pytest.raises(DumpFormatError, match=r"kdump|makedumpfile"):
            open_dump(kdump)


def test_no_asyncio_before_qmp_is_used() -> None:
    code = "import sys, vmon.transport.qemu, vmon.transport.guests; print('asyncio' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code]) == b"False\n"


def test_from_within_an_event_loop(two_nodes: Machine) -> None:
    """As in a notebook; and a thread of such a program may go on with what the loop's began."""

    async def inside() -> None:
        guest = attach_qemu(two_nodes.qmp_path)
        assert guest.state() == await asyncio.to_thread(guest.state)
        guest.close()
        guest = await asyncio.to_thread(attach_qemu, two_nodes.qmp_path)
        await asyncio.to_thread(guest.close)

    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    asyncio.run(inside())
