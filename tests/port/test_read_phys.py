"""One suite for every transport: what ReadPhys promises, whatever the bytes come from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.port.conftest import Machine, write_guest
from tests.port.scene import Scene, paint
from vmon.core.address import Gpa
from vmon.core.errors import PhysReadError
from vmon.core.ports import RamRange, ReadPhys, ViewPhys
from vmon.transport.dump import open_dump, write_dump
from vmon.transport.fake import FakeRam
from vmon.transport.qemu import QemuGuest, attach_qemu
from vmon.transport.ram import ExtentTable, FileRam, MappedRam, ProcessRam

TRANSPORTS = ["mapped", "mapped-two-files", "process", "process-two-files", "raw", "elf", "lime", "fake"]


def table_of(ram: MappedRam | ProcessRam) -> ExtentTable:
    return ram._table


def as_process_ram(guest: QemuGuest) -> ProcessRam:
    """The same guest through /proc/PID/mem, though it has a shared backend."""
    from vmon.transport.qemu import guest as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.backing, "open_backing", lambda pid, mapping: None)
        guest.qmp.close()
        guest.ram.close()
        again = attach_qemu(guest.qmp_path)
    again.qmp.close()
    assert isinstance(again.ram, ProcessRam)
    return again.ram


def paint_guest(machine: Machine) -> tuple[dict[int, bytes], tuple[int, ...]]:
    """Write the scene through QEMU's memory; returns it and the seams of the RAM."""
    with attach_qemu(machine.qmp_path) as guest:
        process = as_process_ram(guest)
    table = table_of(process)
    seams = tuple(int(b.gpa) for a, b in pairwise(table.extents) if a.end_gpa == b.gpa)

    def write(gpa: int, data: bytes) -> None:
        done = 0
        for _, place, size in table.pieces(gpa, len(data)):
            write_guest(machine.pid, place, data[done : done + size])
            done += size

    try:
        return paint(process.ranges, seams, write), seams
    finally:
        process.close()


@pytest.fixture(scope="module")
def painted_two(two_nodes: Machine) -> tuple[dict[int, bytes], tuple[int, ...]]:
    return paint_guest(two_nodes)


@pytest.fixture(scope="module", params=TRANSPORTS)
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    kind: str = request.param
    with ExitStack() as stack:
        machine: Machine
        if kind in ("mapped", "process"):
            name = "pc_6g_memfd" if kind == "mapped" else "q35_6g_anonymous"
            machine = request.getfixturevalue(name)
            painted, seams = paint_guest(machine)
            guest = stack.enter_context(attach_qemu(machine.qmp_path))
            assert type(guest.ram) is {"mapped": MappedRam, "process": ProcessRam}[kind]
            yield Scene(guest.ram, painted, seams)
            return
        machine = request.getfixturevalue("two_nodes")
        painted, seams = request.getfixturevalue("painted_two")
        assert len(seams) == 1
        guest = stack.enter_context(attach_qemu(machine.qmp_path))
        ram: ReadPhys = guest.ram
        if kind == "process-two-files":
            ram = as_process_ram(guest)
        elif kind == "fake":
            ram = FakeRam({r.gpa: guest.ram.read(r.gpa, r.size_bytes) for r in guest.ranges})
        elif kind in ("raw", "elf", "lime"):
            file = tmp_path_factory.mktemp("dump") / f"ram.{kind}"
            write_dump(guest.ram, file, kind)  # type: ignore[arg-type]
            assert file.stat().st_blocks * 512 < 4 << 20, "the dump is not sparse"
            dump = open_dump(file)
            assert dump.kind == kind
            ram = dump
            if kind == "raw":  # the hole below 1 MiB reads as zeros there, so it is RAM to the reader
                assert ram.ranges == (RamRange(Gpa(0), guest.ranges[-1].end_gpa),)
        yield Scene(ram, painted, seams)
        if ram is not guest.ram and not isinstance(ram, FakeRam):
            ram.close()  # type: ignore[attr-defined]


def interesting(scene: Scene) -> list[int]:
    """Addresses around every edge of the scene."""
    edges = [edge for r in scene.ram.ranges for edge in (r.gpa, r.end_gpa)] + list(scene.seams)
    edges += list(scene.bytes_at)
    near = [edge + step for edge in edges for step in (-4097, -4096, -8, -1, 0, 1, 7, 100, 4095, 4096)]
    return sorted({gpa for gpa in near if gpa >= 0})


def inside(scene: Scene, gpa: int, size_bytes: int) -> bool:
    return any(r.gpa <= gpa and gpa + size_bytes <= r.end_gpa for r in scene.ram.ranges)


def test_is_the_port(scene: Scene) -> None:
    assert isinstance(scene.ram, ReadPhys)


def test_ranges_are_sorted_and_apart(scene: Scene) -> None:
    ranges = scene.ram.ranges
    assert ranges and all(item.size_bytes > 0 for item in ranges)
    for before, after in pairwise(ranges):
        assert before.end_gpa < after.gpa


@pytest.mark.parametrize("size_bytes", [1, 8, 100, 4096, 5000])
def test_read_around_every_edge(scene: Scene, size_bytes: int) -> None:
    for gpa in interesting(scene):
        if inside(scene, gpa, size_bytes):
            assert scene.ram.read(Gpa(gpa), size_bytes) == scene.expected(gpa, size_bytes), hex(gpa)
        else:
            with pytest.raises(PhysReadError) as caught:
                scene.ram.read(Gpa(gpa), size_bytes)
            assert caught.value.address >= gpa


def test_read_across_a_seam(scene: Scene) -> None:
    for seam in scene.seams:
        data = scene.ram.read(Gpa(seam - 3000), 6000)
        assert data == scene.bytes_at[seam - 3000]


def test_read_nothing(scene: Scene) -> None:
    assert scene.ram.read(scene.ram.ranges[0].gpa, 0) == b""


@pytest.mark.parametrize("gpa", [1 << 46, (1 << 64) - 8, (1 << 64) - 1, 0xFFFF888000000000])
def test_read_of_wild_addresses(scene: Scene, gpa: int) -> None:
    with pytest.raises(PhysReadError):
        scene.ram.read(Gpa(gpa), 8)


@pytest.mark.parametrize("size_bytes", [1, 8, 64, 3000, 16384])
def test_gather_equals_read(scene: Scene, size_bytes: int) -> None:
    wild = [1 << 46, 1 << 63, (1 << 64) - 1, (1 << 64) - size_bytes, 0xFFFF888000000000]
    gpas = np.array(interesting(scene) + wild, np.uint64)
    rows = scene.ram.gather(gpas, size_bytes)
    assert rows.shape == (len(gpas), size_bytes) and rows.dtype == np.uint8
    known = scene.ram.contains(gpas, size_bytes)
    for gpa, row, is_ram in zip(gpas.tolist(), rows, known.tolist(), strict=True):
        assert is_ram == inside(scene, gpa, size_bytes), hex(gpa)
        expected = scene.ram.read(Gpa(gpa), size_bytes) if is_ram else bytes(size_bytes)
        assert row.tobytes() == expected, hex(gpa)


def test_gather_thousands(scene: Scene) -> None:
    gpa = next(iter(scene.bytes_at))
    gpas = np.arange(gpa, gpa + 5000 - 8, dtype=np.uint64)
    expected = np.lib.stride_tricks.sliding_window_view(np.frombuffer(scene.bytes_at[gpa], np.uint8), 8)
    assert np.array_equal(scene.ram.gather(gpas, 8), expected[: len(gpas)])


def test_gather_of_good_rows_only(scene: Scene) -> None:
    """The fast way, that of a list of tasks: all in RAM, in every extent, none wild."""
    for gpa in scene.bytes_at:
        rows = scene.ram.gather(np.array([gpa, gpa + 1, gpa + 8], np.uint64), 64)
        assert [row.tobytes() for row in rows] == [scene.expected(gpa + step, 64) for step in (0, 1, 8)]


def test_gather_belongs_to_the_caller(scene: Scene) -> None:
    gpas = np.array([next(iter(scene.bytes_at))], np.uint64)
    rows = scene.ram.gather(gpas, 16)
    before = rows.copy()
    rows[:] = 0xEE
    assert np.array_equal(scene.ram.gather(gpas, 16), before)


def test_a_view_is_what_is_read(scene: Scene) -> None:
    """Of those that can: RAM that is mapped, and dumps."""
    ram = scene.ram
    assert isinstance(ram, ViewPhys) == isinstance(ram, FileRam)
    if not isinstance(ram, ViewPhys):
        return
    for gpa in interesting(scene):
        if inside(scene, gpa, 5000):
            with ram.view(Gpa(gpa), 5000) as view:
                assert view.readonly and view.nbytes == 5000
                assert view == scene.expected(gpa, 5000), hex(gpa)
        else:
            with pytest.raises(PhysReadError):
                ram.view(Gpa(gpa), 5000)
    for seam in scene.seams:
        with ram.view(Gpa(seam - 3000), 6000) as view:
            assert view == scene.bytes_at[seam - 3000]


def test_gather_nothing(scene: Scene) -> None:
    assert scene.ram.gather(np.array([], np.uint64), 8).shape == (0, 8)
    assert scene.ram.gather(np.array([4096], np.uint64), 0).shape == (1, 0)
    assert scene.ram.contains(np.array([], np.uint64), 8).shape == (0,)


def test_populated_covers_all_data(scene: Scene) -> None:
    populated = list(scene.ram.populated())
    for before, after in pairwise(populated):
        assert before.end_gpa <= after.gpa
    for item in populated:
        assert inside(scene, item.gpa, item.size_bytes)
    for gpa, data in scene.bytes_at.items():
        for at in range(gpa, gpa + len(data), 4096):
            assert any(item.gpa <= at < item.end_gpa for item in populated), hex(at)


def test_populated_leaves_holes_out(scene: Scene) -> None:
    total = sum(item.size_bytes for item in scene.ram.ranges)
    if isinstance(scene.ram, ProcessRam) and not scene.ram._anonymous:
        pytest.skip("a file's pages are not all in QEMU's page tables: pagemap can't tell, all RAM is given")
    # Transparent huge pages round an anonymous guest up to 2 MiB a touch.
    assert sum(item.size_bytes for item in scene.ram.populated()) < total / 2


def test_nothing_is_open_for_writing(scene: Scene) -> None:
    for folder in Path("/proc/self/fd").iterdir():
        try:
            link = str(folder.readlink())
        except FileNotFoundError:
            continue
        if link.startswith("/memfd:") or link.endswith("/mem") or "/dump" in link:
            flags = int(Path(f"/proc/self/fdinfo/{folder.name}").read_text().split("flags:")[1].split()[0], 8)
            assert flags & os.O_ACCMODE == os.O_RDONLY, link
    maps = Path("/proc/self/maps").read_text()
    assert not [line for line in maps.splitlines() if "memfd" in line and " rw" in line]


def test_reading_writes_nothing(scene: Scene) -> None:
    """After all of the above each byte of the scene is as it was painted, and nothing else appeared."""
    for item in scene.ram.populated():
        for gpa in range(item.gpa, item.end_gpa, 1 << 20):
            size_bytes = min(1 << 20, item.end_gpa - gpa)
            data = scene.ram.read(Gpa(gpa), size_bytes)
            assert data == scene.expected(gpa, size_bytes), hex(gpa)
