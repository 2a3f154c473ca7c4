"""A dump of a running guest is as sparse as its RAM: pages of zeros become holes of the file.

Reads any ReadPhys, only where it is populated, two megabytes at a time in two threads (what takes time is the host
kernel's copying, and it copies for two at once), without pausing the guest: pages written to meanwhile are of
different moments, unless who calls holds the guest. The file appears under its name when it is complete, readable by
its owner alone (it holds every secret of the guest).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from vmon.core.address import PAGE_SIZE_BYTES, Gpa
from vmon.core.errors import UsageError
from vmon.core.ports import RamRange, ReadPhys
from vmon.transport.dump import elf, lime
from vmon.transport.newfile import new_file

DumpFormat = Literal["raw", "elf", "lime"]
Progress = Callable[[int, int], None]
"""Called with guest RAM bytes done and in all."""
CHUNK_BYTES = 2 << 20
WORKERS = 2
CHUNKS_AHEAD = 3 * WORKERS
PROGRESS_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class DumpWritten:
    """What write_dump made."""

    path: Path
    format: DumpFormat
    ram_bytes: int
    """Guest RAM that the file stands for."""
    stored_bytes: int
    """Bytes that were not zeros, hence written."""
    paused_ns: int | None = None
    """How long the guest stood still for it; None where it went on, 0 where somebody else had paused it."""


def write_dump(
    ram: ReadPhys,
    file: str | Path,
    format: DumpFormat = "raw",
    progress: Progress | None = None,
    *,
    overwrite: bool = False,
) -> DumpWritten:
    """Write a guest's RAM to a file; `raw` puts each byte at the offset of its address, holes included."""
    if format not in get_args(DumpFormat):
        raise UsageError(
            f"{format!r} is not a dump format", hint=f"formats: {', '.join(get_args(DumpFormat))}"
        )
    path = Path(file)
    with new_file(path, overwrite=overwrite) as stream:
        stored_bytes = _write(ram, stream.fileno(), format, progress or (lambda done, total: None))
    return DumpWritten(path, format, sum(item.size_bytes for item in ram.ranges), stored_bytes)


def _layout(fd: int, format: DumpFormat, ranges: tuple[RamRange, ...]) -> tuple[list[int], int]:
    """Write the headers; the offset of each range's bytes, and the file's size."""
    if format == "raw":
        return [item.gpa for item in ranges], ranges[-1].end_gpa if ranges else 0
    if format == "elf":
        head, offsets = elf.headers(ranges)
        _pwrite(fd, memoryview(head), 0)
    else:
        offsets, at = [], 0
        for item in ranges:
            _pwrite(fd, memoryview(lime.header(item)), at)
            offsets.append(at + lime.HEADER.size)
            at += lime.HEADER.size + item.size_bytes
    return offsets, offsets[-1] + ranges[-1].size_bytes if ranges else len(elf.MAGIC)


def _write(ram: ReadPhys, fd: int, format: DumpFormat, progress: Progress) -> int:
    ranges = ram.ranges
    offsets, file_bytes = _layout(fd, format, ranges)
    os.ftruncate(fd, file_bytes)
    total_bytes = sum(item.size_bytes for item in ranges)
    stored_bytes = reported_bytes = 0
    waiting: deque[tuple[int, Future[int]]] = deque()

    def copy(gpa: int, size_bytes: int, place: int) -> int:
        return _store(fd, ram.read(Gpa(gpa), size_bytes), place)

    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            for gpa, size_bytes, place, done_bytes in _chunks(ram, ranges, offsets):
                waiting.append((done_bytes, pool.submit(copy, gpa, size_bytes, place)))
                if len(waiting) < CHUNKS_AHEAD:
                    continue
                done_bytes, oldest = waiting.popleft()
                stored_bytes += oldest.result()
                if done_bytes - reported_bytes >= PROGRESS_BYTES:
                    reported_bytes = done_bytes
                    progress(done_bytes, total_bytes)
            stored_bytes += sum(chunk.result() for _, chunk in waiting)
        finally:
            for _, chunk in waiting:
                chunk.cancel()
    progress(total_bytes, total_bytes)
    return stored_bytes


def _chunks(
    ram: ReadPhys, ranges: tuple[RamRange, ...], offsets: list[int]
) -> Iterator[tuple[int, int, int, int]]:
    """What to copy: address, size, place in the file, and how much of RAM lies before it."""
    done_before_bytes = index = 0
    for run in ram.populated():
        while run.gpa >= ranges[index].end_gpa:
            done_before_bytes += ranges[index].size_bytes
            index += 1
        home, move = ranges[index], offsets[index] - ranges[index].gpa
        for gpa in range(run.gpa, run.end_gpa, CHUNK_BYTES):
            size_bytes = min(CHUNK_BYTES, run.end_gpa - gpa)
            yield gpa, size_bytes, gpa + move, done_before_bytes + gpa - home.gpa


def _store(fd: int, data: bytes, offset: int) -> int:
    """Write the pages that are not all zeros, neighbours at once."""
    whole = len(data) // PAGE_SIZE_BYTES * PAGE_SIZE_BYTES
    pages = np.frombuffer(data, np.uint64, whole // 8).reshape(-1, PAGE_SIZE_BYTES // 8)
    filled = np.append(pages.any(axis=1), any(data[whole:]))
    edges = np.flatnonzero(np.diff(filled, prepend=False, append=False)).tolist()
    view = memoryview(data)
    stored_bytes = 0
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        piece = view[start * PAGE_SIZE_BYTES : end * PAGE_SIZE_BYTES]
        _pwrite(fd, piece, offset + start * PAGE_SIZE_BYTES)
        stored_bytes += len(piece)
    return stored_bytes


def _pwrite(fd: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(fd, data, offset)
        data, offset = data[written:], offset + written
