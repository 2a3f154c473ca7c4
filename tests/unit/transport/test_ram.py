"""RAM windows on files and on this very process."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess

import numpy as np
import pytest

from vmon.core.address import Gpa
from vmon.core.errors import PhysReadError, TargetDenied, TargetError, TargetGone
from vmon.core.ports import RamRange, WritePhys
from vmon.transport.ram import Extent, FileRam, MappedRam, ProcessRam

MIB = 1 << 20


def memfd(size: int) -> int:
    fd = os.memfd_create("vmon-test", os.MFD_CLOEXEC)
    os.ftruncate(fd, size)
    return fd


def test_populated_lists_data_alone() -> None:
    fd = memfd(8 * MIB)
    os.pwrite(fd, b"x", 4096)
    os.pwrite(fd, b"y" * 8192, 5 * MIB)
    ram = MappedRam([Extent(Gpa(0), 2 * MIB, 0), Extent(Gpa(1 << 32), 6 * MIB, 2 * MIB)], [fd])
    assert list(ram.populated()) == [RamRange(Gpa(4096), 4096), RamRange(Gpa((1 << 32) + 3 * MIB), 8192)]
    ram.close()


def test_scanning_holes_allocates_nothing() -> None:
    fd = memfd(64 * MIB)
    ram = MappedRam([Extent(Gpa(0), 64 * MIB, 0)], [fd])
    assert list(ram.populated()) == []
    assert ram.read(Gpa(0), 64 * MIB) == bytes(64 * MIB)
    assert os.fstat(fd).st_blocks == 0
    ram.close()


def test_a_file_that_is_too_short_is_refused() -> None:
    fd = memfd(MIB)
    with pytest.raises(TargetError, match="1048576 of 2097152"):
        MappedRam([Extent(Gpa(0), 2 * MIB, 0)], [fd])
    with pytest.raises(OSError):
        os.fstat(fd)


def test_a_file_cut_short_later_is_gone() -> None:
    fd = memfd(2 * MIB)
    ram = MappedRam([Extent(Gpa(0), 2 * MIB, 0)], [fd])
    os.ftruncate(fd, MIB)
    with pytest.raises(TargetGone):
        ram.read(Gpa(MIB - 4096), 8192)
    ram.close()


def test_results_outlive_the_window() -> None:
    fd = memfd(MIB)
    os.pwrite(fd, b"hello", 100)
    ram = MappedRam([Extent(Gpa(0), MIB, 0)], [fd])
    rows, data = ram.gather(np.array([100], np.uint64), 5), ram.read(Gpa(100), 5)
    ram.close()
    ram.close()
    assert rows.tobytes() == data == b"hello"


def test_a_row_larger_than_the_file() -> None:
    fd = memfd(8192)
    ram = MappedRam([Extent(Gpa(0), 8192, 0)], [fd])
    assert not ram.gather(np.array([0, 5], np.uint64), 16384).any()
    ram.close()


def test_the_windows_kept_are_bounded() -> None:
    fd = memfd(MIB)
    ram = MappedRam([Extent(Gpa(0), MIB, 0)], [fd])
    for size in range(1, 1500):
        ram.gather(np.array([0], np.uint64), size)
        ram.contains(np.array([0], np.uint64), size)
    assert len(ram._windows) <= 256 and len(ram._table._limits) <= 256
    ram.close()


@pytest.fixture
def own_buffer() -> ctypes.Array[ctypes.c_char]:
    buffer = ctypes.create_string_buffer(3 * MIB)
    buffer[:] = bytes(range(256)) * (3 * MIB // 256)
    return buffer


def test_process_ram_reads_this_process(own_buffer: ctypes.Array[ctypes.c_char]) -> None:
    place = ctypes.addressof(own_buffer)
    ram = ProcessRam([Extent(Gpa(0), MIB, place), Extent(Gpa(1 << 32), MIB, place + MIB)], os.getpid())
    assert ram.read(Gpa(7), 3) == bytes([7, 8, 9])
    gpas = np.tile(np.array([0, 9, 1 << 32, MIB - 4, 1 << 63], np.uint64), 700)  # more than one call takes
    rows = ram.gather(gpas, 8)
    assert rows.shape == (3500, 8)
    assert rows[1::5].tolist() == [list(range(9, 17))] * 700
    assert not rows[3::5].any() and not rows[4::5].any()
    assert sum(r.size_bytes for r in ram.populated()) == 2 * MIB
    ram.close()


def test_process_ram_where_nothing_is_mapped(own_buffer: ctypes.Array[ctypes.c_char]) -> None:
    """RAM that was unplugged since attach: no data there, and what is there is still read."""
    ram = ProcessRam(
        [Extent(Gpa(0), MIB, ctypes.addressof(own_buffer)), Extent(Gpa(1 << 32), MIB, 0x10000)], os.getpid()
    )
    with pytest.raises(PhysReadError):
        ram.read(Gpa(1 << 32), 8)
    rows = ram.gather(np.array([1, 1 << 32, 2], np.uint64), 1)
    assert rows.ravel().tolist() == [1, 0, 2]
    ram.close()


def test_process_ram_of_a_process_that_ended(own_buffer: ctypes.Array[ctypes.c_char]) -> None:
    child = subprocess.Popen(["sleep", "60"])
    ram = ProcessRam([Extent(Gpa(0), MIB, 0x400000)], child.pid)
    child.kill()
    child.wait()
    with pytest.raises(TargetGone):
        ram.read(Gpa(0), 8)
    with pytest.raises(TargetGone):
        ram.gather(np.array([0], np.uint64), 8)
    ram.close()
    with pytest.raises(TargetGone):
        ProcessRam([], child.pid)


def open_for_writing(ram: MappedRam) -> dict[int, int]:
    return ram._write_fds


def test_a_file_is_opened_for_writing_by_the_first_write() -> None:
    fds = [memfd(MIB), memfd(MIB)]
    ram = MappedRam([Extent(Gpa(0), MIB, 0), Extent(Gpa(MIB), MIB, 0, backing=1)], fds)
    assert isinstance(ram, WritePhys)
    assert ram.read(Gpa(0), MIB) and not open_for_writing(ram)
    ram.write(Gpa(5), b"hello")
    assert list(open_for_writing(ram)) == [0]
    ram.write(Gpa(MIB - 3), b"across")
    ram.write(Gpa(9), b"")
    assert ram.read(Gpa(MIB - 3), 6) == b"across" and ram.read(Gpa(5), 5) == b"hello"
    written = list(open_for_writing(ram).values())
    ram.close()
    for fd in written:
        with pytest.raises(OSError):
            os.fstat(fd)


def test_what_is_not_all_ram_is_not_written() -> None:
    ram = MappedRam([Extent(Gpa(0), MIB, 0)], [memfd(MIB)])
    for gpa in (MIB - 2, MIB, 1 << 63, (1 << 64) - 1):
        with pytest.raises(PhysReadError):
            ram.write(Gpa(gpa), b"abc")
    assert ram.read(Gpa(MIB - 2), 2) == bytes(2) and not open_for_writing(ram)
    ram.close()


def test_a_file_that_may_not_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    ram = MappedRam([Extent(Gpa(0), MIB, 0)], [memfd(MIB)])

    def denied(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(TargetDenied) as caught:
        ram.write(Gpa(0), b"abc")
    assert caught.value.hint
    monkeypatch.undo()
    ram.close()


def test_a_file_cut_short_is_not_made_longer() -> None:
    fd = memfd(2 * MIB)
    ram = MappedRam([Extent(Gpa(0), 2 * MIB, 0)], [fd])
    os.ftruncate(fd, MIB)
    with pytest.raises(TargetGone):
        ram.write(Gpa(MIB + 4096), b"abc")
    assert os.fstat(fd).st_size == MIB
    ram.close()


def test_a_file_without_write_is_written_by_mapping(monkeypatch: pytest.MonkeyPatch) -> None:
    """As hugetlbfs."""
    ram = MappedRam([Extent(Gpa(0), MIB, 0)], [memfd(MIB)])

    def refused(*_: object) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "pwrite", refused)
    ram.write(Gpa(4094), b"abcd")
    assert ram.read(Gpa(4093), 6) == b"\0abcd\0"
    ram.close()


def test_a_dump_has_nobody_to_write_for() -> None:
    ram = FileRam([Extent(Gpa(0), MIB, 0)], [memfd(MIB)])
    assert not isinstance(ram, WritePhys)
    ram.close()


def test_process_ram_writes_this_process(own_buffer: ctypes.Array[ctypes.c_char]) -> None:
    place = ctypes.addressof(own_buffer)
    ram = ProcessRam([Extent(Gpa(0), MIB, place), Extent(Gpa(MIB), MIB, place + 2 * MIB)], os.getpid())
    assert isinstance(ram, WritePhys)
    assert ram.read(Gpa(0), 1) and ram._write_fd == -1
    ram.write(Gpa(MIB - 2), b"abcd")
    assert own_buffer[MIB - 2 : MIB] == b"ab" and own_buffer[2 * MIB : 2 * MIB + 2] == b"cd"
    with pytest.raises(PhysReadError):
        ram.write(Gpa(2 * MIB - 1), b"abcd")
    ram.close()
    assert ram._write_fd == -1


def test_process_ram_of_a_process_that_ended_is_not_written() -> None:
    child = subprocess.Popen(["sleep", "60"])
    with_fd = ProcessRam([Extent(Gpa(0), MIB, 0x400000)], child.pid)
    without = ProcessRam([Extent(Gpa(0), MIB, 0x10)], child.pid)
    with pytest.raises(PhysReadError):
        without.write(Gpa(0), b"a")
    child.kill()
    child.wait()
    for ram in (with_fd, without):
        with pytest.raises(TargetGone):
            ram.write(Gpa(0), b"a")
        ram.close()
