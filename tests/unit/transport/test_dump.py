"""Dump files: round trips, and headers that lie."""

from __future__ import annotations

import errno
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmon.core.address import Gpa
from vmon.core.errors import (
    DumpFormatError,
    TargetDenied,
    TargetError,
    TargetGone,
    TargetNotFound,
    UsageError,
)
from vmon.core.ports import RamRange
from vmon.transport.dump import elf, lime, open_dump, write, write_dump
from vmon.transport.fake import FakeRam

MIB = 1 << 20


def machine() -> FakeRam:
    low = bytearray(2 * MIB)
    low[0x1000:0x1004] = b"low!"
    low[-1] = 7
    high = bytearray(MIB + 5000)
    high[0] = 9
    high[-3:] = b"end"
    return FakeRam({0: bytes(low), 3 * MIB: bytes(high)})


@contextmanager
def file_of(data: bytes) -> Iterator[Path]:
    fd = os.memfd_create("vmon-dump", os.MFD_CLOEXEC)
    try:
        os.write(fd, data)
        yield Path(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


@pytest.mark.parametrize("kind", ["raw", "elf", "lime"])
def test_round_trip(kind: str, tmp_path: Path) -> None:
    ram = machine()
    if kind == "raw":  # a raw file is told from a cut one by whole pages
        ram = FakeRam({**ram.memory, 3 * MIB: bytes(ram.memory[3 * MIB]) + bytes(4096 - 5000 % 4096)})
    seen: list[tuple[int, int]] = []
    file = tmp_path / "dump"
    written = write_dump(ram, file, kind, lambda done, total: seen.append((done, total)))  # type: ignore[arg-type]
    total = sum(r.size_bytes for r in ram.ranges)
    assert (written.path, written.format, written.ram_bytes) == (file, kind, total)
    assert 0 < written.stored_bytes <= 5 * 4096
    assert seen[-1] == (total, total) and seen == sorted(seen)
    assert file.stat().st_blocks * 512 < 256 << 10
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]
    with open_dump(file) as dump:
        assert dump.kind == kind
        if kind != "raw":
            assert dump.ranges == ram.ranges
        for item in ram.ranges:
            assert dump.read(item.gpa, item.size_bytes) == ram.read(item.gpa, item.size_bytes)


def test_progress_on_the_way(tmp_path: Path) -> None:
    ram = FakeRam({0: b"\1" * (40 * MIB)})
    seen: list[int] = []
    write_dump(ram, tmp_path / "d", "raw", lambda done, total: seen.append(done))
    assert seen == [16 * MIB, 32 * MIB, 40 * MIB]


def test_memory_of_the_writer_is_bounded(tmp_path: Path) -> None:
    ram = FakeRam({0: b"\1" * (8 * MIB)})
    write_dump(ram, tmp_path / "d")
    assert max(op.size_bytes for op in ram.log) <= write.CHUNK_BYTES


def test_an_existing_file_is_kept_unless_asked(tmp_path: Path) -> None:
    file = tmp_path / "d"
    file.write_bytes(b"precious")
    with pytest.raises(UsageError, match="there already"):
        write_dump(machine(), file)
    assert file.read_bytes() == b"precious"
    write_dump(machine(), file, "lime", overwrite=True)
    assert file.read_bytes()[:4] == lime.MAGIC


def test_a_file_that_comes_in_between_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "d"
    with pytest.raises(UsageError, match="there already"):
        write_dump(machine(), file, progress=lambda done, total: file.write_bytes(b"mine") and None)
    assert file.read_bytes() == b"mine" and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (errno.ENOSPC, UsageError, "no space left"),
        (errno.EFBIG, UsageError, "larger than"),
        (errno.EIO, UsageError, "can't be written"),
        (errno.EROFS, TargetDenied, "can't be written"),
    ],
)
def test_a_disk_that_fails(
    code: int, kind: type[Exception], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, data: memoryview, offset: int) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(write.os, "pwrite", full)
    with pytest.raises(kind, match=words):
        write_dump(machine(), tmp_path / "d")
    assert not list(tmp_path.iterdir())


def test_a_guest_that_goes_leaves_no_file(tmp_path: Path) -> None:
    ram = machine()
    ram.fail_at = 2
    with pytest.raises(TargetGone):
        write_dump(ram, tmp_path / "d")
    assert not list(tmp_path.iterdir())


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        write_dump(machine(), tmp_path / "nowhere" / "d")
    with pytest.raises(UsageError, match="not a dump format"):
        write_dump(machine(), tmp_path / "d", "qcow2")  # type: ignore[arg-type]


def test_files_that_are_not_there_or_not_files(tmp_path: Path) -> None:
    with pytest.raises(TargetNotFound):
        open_dump(tmp_path / "none")
    with pytest.raises(TargetError, match="not a regular file"):
        open_dump(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(DumpFormatError, match="not a regular file"):
        open_dump(tmp_path / "fifo")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a memory dump"),
        (b"some text\n", "not a memory dump"),
        (bytes(MIB + 1), "not a memory dump"),
        (b"KDUMP   " + bytes(MIB - 8), "compressed kdump"),
        (b"makedumpfile\0" + bytes(MIB), "flattened"),
        (b"QFI\xfb" + bytes(MIB - 4), "qcow2"),
        (b"\x1f\x8b" + bytes(MIB - 2), "gzip"),
        (b"AVML" + bytes(MIB), "AVML"),
    ],
)
def test_what_is_not_a_dump(data: bytes, words: str) -> None:
    with file_of(data) as path, pytest.raises(DumpFormatError, match=words):
        open_dump(path)


def core(*segments: tuple[int, int, int], total_bytes: int = MIB, **fields: int) -> bytes:
    """An ELF core of (p_paddr, p_offset, size) segments, with fields of the header overridden."""
    values = {
        "type": 4,
        "machine": 62,
        "phoff": 64,
        "shoff": 0,
        "phentsize": 56,
        "phnum": len(segments),
    } | fields
    head = elf.HEADER.pack(
        b"\x7fELF\x02\x01\x01" + bytes(9),
        values["type"],
        values["machine"],
        1,
        0,
        values["phoff"],
        values["shoff"],
        0,
        64,
        values["phentsize"],
        values["phnum"],
        0,
        0,
        0,
    )
    rows = b"".join(elf.SEGMENT.pack(1, 6, offset, 0, gpa, size, size, 0) for gpa, offset, size in segments)
    return (head + rows).ljust(total_bytes, b"\xaa")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (core((0, 4096, 4096))[:40], "cut short at offset 0x28"),
        (core((0, 4096, 4096), type=2), "not a core"),
        (core((0, 4096, 4096), machine=183), "64-bit x86"),
        (core((0, 4096, 4096), phentsize=32), "0x36"),
        (core((0, 4096, 4096), phoff=MIB), "not in the file"),
        (core((0, 4096, 4096), phoff=(1 << 64) - 1), "not in the file"),
        (core((0, 4096, 4096), phnum=0xFFFE), "not in the file"),
        (core((0, 4096, 4096), phnum=0xFFFF, shoff=1 << 63), "section 0"),
        (core((0, 4096, 4096), phnum=0xFFFF, shoff=0x5000), "not in the file"),
        (core((0, 4096, MIB)), "segment 0 at offset 0x40: 1048576 bytes at 0x1000 reach beyond"),
        (core((0, (1 << 64) - 4096, 4096)), "reach beyond"),
        (core(((1 << 64) - 4096, 4096, 4096)), "can't be RAM"),
        (core(), "holds no memory"),
        (core((0, 4096, 4096), (0, 8192, 4096)), "process"),
    ],
)
def test_elf_headers_that_lie(data: bytes, words: str) -> None:
    with file_of(data) as path, pytest.raises(DumpFormatError, match=words):
        open_dump(path)


def test_elf_with_more_segments_than_16_bits_hold() -> None:
    data = bytearray(core((MIB, 0x10000, 4096), phnum=0xFFFF, shoff=0x1000))
    data[0x1000 + 44 : 0x1000 + 48] = struct.pack("<I", 1)
    with file_of(bytes(data)) as path, open_dump(path) as dump:
        assert dump.ranges == (RamRange(Gpa(MIB), 4096),)


def test_elf_runs_that_overlap_are_clipped() -> None:
    """dump-guest-memory -p and /proc/vmcore list the kernel's text twice."""
    data = bytearray(core((0, 0x10000, 0x4000), (0x1000, 0x11000, 0x1000), (0x3000, 0x20000, 0x2000)))
    data[0x20000:0x22000] = b"\xbb" * 0x2000
    with file_of(bytes(data)) as path, open_dump(path) as dump:
        assert dump.ranges == (RamRange(Gpa(0), 0x5000),)
        assert dump.read(Gpa(0x3FFF), 2) == b"\xaa\xbb"


def run(first: int, last: int, data: bytes, *, magic: int = lime.MAGIC_NUMBER, version: int = 1) -> bytes:
    return lime.HEADER.pack(magic, version, first, last, 0) + data


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (run(0, 4095, bytes(4096))[:20], "0x0 is cut short"),
        (run(0, 4095, bytes(100)), "run at offset 0x20: 4096 bytes reach beyond"),
        (run(0, 4095, bytes(4096), version=2), "version 2"),
        (run(5, 4, b""), "RAM from 0x5 to 0x4"),
        (run(0, (1 << 64) - 1, b""), "RAM from 0x0"),
        (run(0, 4095, bytes(4096)) + b"junk", "0x1020 is cut short"),
        (run(0, 4095, bytes(4096)) + run(0, 4095, bytes(4096), magic=1), "magic 0x1"),
        (
            run(0, 4095, bytes(4096)) + run(4095, 8190, bytes(4096)),
            "offset 0x1020: RAM at 0xfff is there twice",
        ),
    ],
)
def test_lime_headers_that_lie(data: bytes, words: str) -> None:
    with file_of(data) as path, pytest.raises(DumpFormatError, match=words):
        open_dump(path)


def test_lime_runs_in_any_order_and_adjacent() -> None:
    with file_of(run(4096, 8191, b"b" * 4096) + run(0, 4095, b"a" * 4096)) as path, open_dump(path) as dump:
        assert dump.ranges == (RamRange(Gpa(0), 8192),)
        assert dump.read(Gpa(4095), 2) == b"ab"
        assert dump.gather(np.array([4095, 4092], np.uint64), 4).tobytes() == b"abbbaaaa"


def test_endless_lime_headers_end() -> None:
    data = b"".join(run(index, index, b"x") for index in range(70000))
    started = time.monotonic()
    with file_of(data) as path, pytest.raises(DumpFormatError, match="more than 65536 runs"):
        open_dump(path)
    assert time.monotonic() - started < 5


@given(st.sampled_from([elf.MAGIC, lime.MAGIC, b""]), st.binary(max_size=400))
def test_any_file_is_read_or_refused(magic: bytes, data: bytes) -> None:
    with file_of(magic + data) as path, suppress(DumpFormatError):
        open_dump(path).close()


@given(
    st.lists(st.tuples(*[st.integers(0, (1 << 64) - 1) | st.sampled_from([0, 4096, MIB])] * 3), max_size=5)
)
def test_any_segments_are_read_or_refused(segments: list[tuple[int, int, int]]) -> None:
    with (
        file_of(core(*segments, total_bytes=MIB // 4)) as path,
        suppress(DumpFormatError),
        open_dump(path) as dump,
    ):
        for item in dump.ranges:
            assert dump.read(Gpa(item.end_gpa - 1), 1)
