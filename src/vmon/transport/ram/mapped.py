"""RAM that lies in a file is read where it lies: mapped read-only, a gather is one numpy index.

FileRam reads alone, for dumps. MappedRam of a running guest writes too: by a descriptor of its own, opened when the
first byte is written, so that what only reads never holds anything open for writing.

Reads memfd, shm and hugetlbfs backends of a running QEMU, and dump files. The guest can change bytes while we
copy them; it can't reach beyond the file, for every address goes through the extent table first.

Two dangers of a mapping, and what is done about them:
- Touching a hole of a shared-memory file through a mapping allocates host memory (pread does not). So a
  `read` of a page or more is a pread, and a scan goes `populated()` + `read`. `gather` follows pointers
  through the mapping; a hostile guest can thereby make the host back RAM that it was promised anyway, never
  more.
- If somebody truncates the file, touching a page behind its end is a SIGBUS. QEMU itself would die of it too.
  The size is checked when the window is made; large reads notice a later cut and raise TargetGone.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from vmon.core.address import PAGE_SIZE_BYTES, Gpa
from vmon.core.errors import TargetDenied, TargetError, TargetGone
from vmon.core.ports import RamRange
from vmon.transport.ram.extents import Extent, ExtentTable, join_ranges

KEPT_WINDOWS = 256
"""Row sizes for which a view is kept: a view costs 1 us to make and 200 bytes to keep."""


class FileRam:
    """ReadPhys over files; takes over the file descriptors and closes them."""

    def __init__(self, extents: list[Extent], fds: Sequence[int]) -> None:
        self._table = ExtentTable(extents)
        self._fds = list(fds)
        self._maps: list[mmap.mmap] = []
        self._windows: dict[tuple[int, int], NDArray[np.void]] = {}
        try:
            for index, fd in enumerate(self._fds):
                size_bytes = os.fstat(fd).st_size
                needed_bytes = max(
                    (e.place + e.size_bytes for e in self._table.extents if e.backing == index), default=0
                )
                if size_bytes < max(needed_bytes, 1):
                    raise TargetError(f"the file behind guest RAM has {size_bytes} of {needed_bytes} bytes")
                self._maps.append(mmap.mmap(fd, size_bytes, mmap.MAP_SHARED, mmap.PROT_READ))
        except BaseException:
            self.close()
            raise
        # Most gathers stay in the largest extent (where the kernel and its slabs are): tried first.
        largest = max(self._table.extents, key=lambda e: e.size_bytes, default=Extent(Gpa(0), 0, 0))
        self._main = largest
        self._main_gpa = np.uint64(largest.gpa)

    @property
    def ranges(self) -> tuple[RamRange, ...]:
        """The guest's RAM, holes left out."""
        return self._table.ranges

    def read(self, gpa: Gpa, size_bytes: int) -> bytes:
        """Exactly that many bytes, or PhysReadError."""
        pieces = self._table.pieces(gpa, size_bytes)
        if len(pieces) == 1:
            extent, place, size = pieces[0]
            if size < PAGE_SIZE_BYTES:
                return self._maps[extent.backing][place : place + size]
            return self._pread(extent.backing, place, size)
        return b"".join(self._pread(extent.backing, place, size) for extent, place, size in pieces)

    def view(self, gpa: Gpa, size_bytes: int) -> memoryview:
        """The bytes where they lie; a copy where they lie in several places. PhysReadError."""
        pieces = self._table.pieces(gpa, size_bytes)
        if len(pieces) != 1:
            return memoryview(self.read(gpa, size_bytes))
        extent, place, _ = pieces[0]
        with memoryview(self._maps[extent.backing]) as whole:
            return whole[place : place + size_bytes]

    def _pread(self, backing: int, place: int, size_bytes: int) -> bytes:
        data = os.pread(self._fds[backing], size_bytes, place)
        if len(data) == size_bytes:
            return data
        parts = [data]
        got_bytes = len(data)
        while got_bytes < size_bytes:
            data = os.pread(self._fds[backing], size_bytes - got_bytes, place + got_bytes)
            if not data:
                raise TargetGone("the file behind guest RAM was cut short while we read it")
            parts.append(data)
            got_bytes += len(data)
        return b"".join(parts)

    def _window(self, backing: int, size_bytes: int) -> NDArray[np.void]:
        """The file as overlapping rows, one at each byte: indexing it copies rows."""
        key = (backing, size_bytes)
        window = self._windows.get(key)
        if window is None:
            if len(self._windows) >= KEPT_WINDOWS:
                self._windows.clear()
            # One void of `size_bytes` a row: numpy copies it as one item, twice as fast as rows of bytes.
            rows = max(0, len(self._maps[backing]) - size_bytes + 1)
            window = np.ndarray((rows,), f"V{size_bytes}", self._maps[backing], 0, (1,))
            self._windows[key] = window
        return window

    def gather(self, gpas: NDArray[np.uint64], size_bytes: int) -> NDArray[np.uint8]:
        """Rows of `size_bytes` at many addresses; zeros where that is not all RAM."""
        count = len(gpas)
        if not count or size_bytes < 1:
            return np.zeros((count, max(size_bytes, 0)), np.uint8)
        gpas = np.asarray(gpas, np.uint64)
        # Addresses below the extent wrap around to huge offsets, so one maximum checks both ends.
        offsets = gpas - self._main_gpa
        if int(offsets.max()) <= self._main.size_bytes - size_bytes:
            offsets += np.uint64(self._main.place)
            window = self._window(self._main.backing, size_bytes)
            return window[offsets.view(np.int64)].view(np.uint8).reshape(count, size_bytes)
        return self._gather_anywhere(gpas, size_bytes)

    def _gather_anywhere(self, gpas: NDArray[np.uint64], size_bytes: int) -> NDArray[np.uint8]:
        places, inside, slots = self._table.places(gpas, size_bytes)
        if self._table.several_backings:
            rows = self._gather_backings(places, inside, slots, size_bytes)
        else:
            # Rows that are no good are read elsewhere, then wiped: cheaper than picking the good ones.
            window = self._window(self._main.backing, size_bytes)
            if not len(window):
                return np.zeros((len(gpas), size_bytes), np.uint8)
            harmless = min(self._main.place, len(window) - 1)
            all_inside = inside.all()
            if not all_inside:
                places = np.where(inside, places, np.uint64(harmless))
            rows = window[places.view(np.int64)].view(np.uint8).reshape(len(gpas), size_bytes)
            if all_inside:
                return rows
        wrong = np.flatnonzero(~inside)
        rows[wrong] = 0
        # Rows that cross from one extent into an adjacent one.
        for index in wrong[self._table.contains(gpas[wrong], size_bytes)].tolist():
            rows[index] = np.frombuffer(self.read(Gpa(int(gpas[index])), size_bytes), np.uint8)
        return rows

    def _gather_backings(
        self, places: NDArray[np.uint64], inside: NDArray[np.bool_], slots: NDArray[np.intp], size_bytes: int
    ) -> NDArray[np.uint8]:
        """The same from several files (one for each NUMA node, or hot-plugged)."""
        rows = np.zeros((len(places), size_bytes), np.uint8)
        backings = self._table.backings(slots)
        for backing in range(len(self._maps)):
            chosen = np.flatnonzero(inside & (backings == backing))
            if len(chosen):
                picked = self._window(backing, size_bytes)[places[chosen].view(np.int64)]
                rows[chosen] = picked.view(np.uint8).reshape(len(chosen), size_bytes)
        return rows

    def contains(self, gpas: NDArray[np.uint64], size_bytes: int) -> NDArray[np.bool_]:
        """For each address, whether `size_bytes` bytes from there are RAM."""
        return self._table.contains(np.asarray(gpas, np.uint64), size_bytes)

    def populated(self) -> Iterator[RamRange]:
        """The parts with data in the file; a file system that can't tell gives all."""
        return join_ranges(self._data_ranges())

    def _data_ranges(self) -> Iterator[RamRange]:
        for extent in self._table.extents:
            for start, end in data_runs(self._fds[extent.backing], extent.place, extent.size_bytes):
                yield RamRange(Gpa(extent.gpa + start - extent.place), end - start)

    def close(self) -> None:
        """Unmap and close; arrays and bytes that were handed out stay good."""
        self._windows.clear()
        for mapping in self._maps:
            mapping.close()
        self._maps.clear()
        for fd in self._fds:
            with contextlib.suppress(OSError):
                os.close(fd)
        self._fds.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class MappedRam(FileRam):
    """ReadPhys and WritePhys over the files of a running guest."""

    def __init__(self, extents: list[Extent], fds: Sequence[int]) -> None:
        self._write_fds: dict[int, int] = {}
        super().__init__(extents, fds)

    def write(self, gpa: Gpa, data: bytes) -> None:
        """All of the bytes, or PhysReadError."""
        pieces = self._table.pieces(gpa, len(data))
        # Each file is open before the first byte is written, so that a refusal leaves nothing half done.
        for extent, _, _ in pieces:
            self._open_for_writing(extent.backing)
        done_bytes = 0
        for extent, place, size in pieces:
            self._pwrite(extent.backing, place, data[done_bytes : done_bytes + size])
            done_bytes += size

    def _open_for_writing(self, backing: int) -> None:
        if backing in self._write_fds:
            return
        try:
            # By way of the descriptor that is read from: a memfd has no other name.
            fd = os.open(f"/proc/self/fd/{self._fds[backing]}", os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise TargetDenied(
                f"the file behind guest RAM can't be opened for writing: {error.strerror}",
                hint="run vmon as root or as QEMU's user",
            ) from error
        self._write_fds[backing] = fd

    def _pwrite(self, backing: int, place: int, data: bytes) -> None:
        fd = self._write_fds[backing]
        if place + len(data) > os.fstat(fd).st_size:  # a write would make it longer
            raise TargetGone("the file behind guest RAM was cut short")
        done_bytes = 0
        while done_bytes < len(data):
            try:
                done_bytes += os.pwrite(fd, data[done_bytes:], place + done_bytes)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise TargetDenied(f"guest RAM can't be written: {error.strerror}") from error
                # hugetlbfs has no write(), its files are written through a mapping.
                with mmap.mmap(fd, len(self._maps[backing])) as mapping:
                    mapping[place + done_bytes : place + len(data)] = data[done_bytes:]
                return

    def close(self) -> None:
        """Unmap and close."""
        super().close()
        for fd in self._write_fds.values():
            os.close(fd)
        self._write_fds.clear()


def data_runs(fd: int, start: int, size_bytes: int) -> Iterator[tuple[int, int]]:
    """(start, end) of the parts of a file that are not holes, within a span of it."""
    at, stop = start, start + size_bytes
    while at < stop:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
            if data >= stop:
                return
            hole = os.lseek(fd, data, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end of the file
                return
            yield at, stop
            return
        yield data, min(hole, stop)
        at = hole
