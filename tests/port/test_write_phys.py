"""One suite for every transport that writes: what WritePhys promises, and that reading alone opens nothing for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from tests.port.conftest import Machine
from tests.port.scene import pattern
from tests.port.test_read_phys import as_process_ram
from vmon.core.address import Gpa
from vmon.core.errors import PhysReadError, TargetGone
from vmon.core.ports import ReadPhys, WritePhys
from vmon.transport.dump import open_dump, write_dump
from vmon.transport.fake import FakeRam
from vmon.transport.qemu import attach_qemu
from vmon.transport.ram import MappedRam, ProcessRam

TRANSPORTS = ["mapped", "mapped-two-files", "process", "process-two-files", "fake"]


@pytest.fixture(params=TRANSPORTS)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[FakeRam | MappedRam | ProcessRam, ReadPhys]]:
    """A window that is written, and another one on the same RAM to see it by."""
    kind: str = request.param
    machine: Machine
    with ExitStack() as stack:
        if kind == "fake":
            fake = FakeRam({0: bytes(1 << 20), 1 << 20: bytes(1 << 20), 1 << 32: bytes(1 << 20)})
            yield fake, fake
            return
        name = {"mapped": "pc_6g_memfd", "process": "q35_6g_anonymous"}.get(kind, "two_nodes")
        machine = request.getfixturevalue(name)
        with attach_qemu(machine.qmp_path) as first:
            process = as_process_ram(first)
        stack.callback(process.close)
        guest = stack.enter_context(attach_qemu(machine.qmp_path))
        assert type(guest.ram) is (ProcessRam if kind == "process" else MappedRam)
        yield (process, guest.ram) if kind == "process-two-files" else (guest.ram, process)


def open_for_writing() -> list[str]:
    """What of a guest or a dump this process holds open for writing, or has mapped so."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            link = str(entry.readlink())
            flags = int(Path(f"/proc/self/fdinfo/{entry.name}").read_text().split("flags:")[1].split()[0], 8)
        except FileNotFoundError:
            continue
        if (link.startswith("/memfd:") or link.endswith("/mem")) and flags & os.O_ACCMODE != os.O_RDONLY:
            found.append(link)
    maps = Path("/proc/self/maps").read_text().splitlines()
    return found + [line for line in maps if "memfd" in line and " rw" in line]


def test_is_the_port(pair: tuple[FakeRam | MappedRam | ProcessRam, ReadPhys]) -> None:
    assert isinstance(pair[0], WritePhys)


@pytest.mark.parametrize("size_bytes", [1, 8, 100, 4096, 9000])
def test_a_write_is_seen_by_another_window(
    pair: tuple[FakeRam | MappedRam | ProcessRam, ReadPhys], size_bytes: int
) -> None:
    """At both ends of each range, so on both sides of the PCI hole, and across seams."""
    ram, other = pair
    places = {r.gpa + 4096 for r in ram.ranges} | {r.end_gpa - size_bytes for r in ram.ranges}
    if not isinstance(ram, FakeRam):
        places |= {a.end_gpa - size_bytes // 2 for a, b in pairwise(ram._table.extents) if a.end_gpa == b.gpa}
    for seed, gpa in enumerate(sorted(places)):
        before, behind = other.read(Gpa(gpa - 8), 8), None
        after_gpa = Gpa(gpa + size_bytes)
        if any(r.gpa <= after_gpa and after_gpa + 8 <= r.end_gpa for r in ram.ranges):
            behind = other.read(after_gpa, 8)
        data = pattern(seed + size_bytes, size_bytes)
        ram.write(Gpa(gpa), data)
        assert ram.read(Gpa(gpa), size_bytes) == data
        assert other.read(Gpa(gpa), size_bytes) == data
        assert other.read(Gpa(gpa - 8), 8) == before
        assert behind is None or other.read(after_gpa, 8) == behind


def test_outside_of_ram_nothing_is_written(pair: tuple[FakeRam | MappedRam | ProcessRam, ReadPhys]) -> None:
    ram, other = pair
    for item in ram.ranges:
        last = other.read(Gpa(item.end_gpa - 4), 4)
        with pytest.raises(PhysReadError):
            ram.write(Gpa(item.end_gpa - 4), b"too long")
        assert other.read(Gpa(item.end_gpa - 4), 4) == last
    for gpa in (1 << 46, (1 << 64) - 8, (1 << 64) - 1, 0xFFFF888000000000):
        with pytest.raises(PhysReadError):
            ram.write(Gpa(gpa), bytes(8))


def test_reading_opens_nothing_for_writing(pc_6g_memfd: Machine, q35_6g_anonymous: Machine) -> None:
    for machine in (pc_6g_memfd, q35_6g_anonymous):
        with attach_qemu(machine.qmp_path) as guest:
            guest.ram.read(Gpa(1 << 20), 1 << 20)
            assert next(iter(guest.ram.populated()), None) is not None
            with pytest.raises(PhysReadError):
                guest.ram.write(Gpa(1 << 50), b"a")
            assert not open_for_writing()
            guest.ram.write(Gpa(0x3000), b"a")
            assert len(open_for_writing()) == 1
        assert not open_for_writing()


def test_a_dump_can_not_be_written(two_nodes: Machine, tmp_path: Path) -> None:
    with attach_qemu(two_nodes.qmp_path) as guest:
        write_dump(guest.ram, tmp_path / "ram", "raw")
    with open_dump(tmp_path / "ram") as dump:
        assert not isinstance(dump, WritePhys)


def test_a_guest_that_ended_is_gone_for_writers_of_its_process() -> None:
    from tests.port.conftest import qemu

    with qemu("-m", "32M") as machine, attach_qemu(machine.qmp_path) as guest:
        guest.ram.write(Gpa(0x1000), b"abc")
        machine.kill()
        with pytest.raises(TargetGone):
            guest.ram.write(Gpa(0x1000), b"abc")
