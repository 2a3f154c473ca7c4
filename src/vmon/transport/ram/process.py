"""RAM without a shared backend is read out of the QEMU process, at the host address of each guest address.

Reads /proc/PID/mem (a descriptor kept from attach, so privileges can be dropped), gathers by one
process_vm_readv for a thousand rows where the host still lets us, finds what is populated in
/proc/PID/pagemap. Writes go through a second descriptor, opened when the first byte is written. The guest can change
bytes while we copy them; addresses outside the extent table are never asked for, so it can't make us read or write
QEMU's own memory. A QEMU that ended is noticed by reads that come back empty, and by its pidfd.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vmon.core.address import PAGE_SHIFT, PAGE_SIZE_BYTES, Gpa
from vmon.core.errors import PhysReadError, TargetDenied, TargetGone
from vmon.core.ports import RamRange
from vmon.transport.ram.extents import Extent, ExtentTable, join_ranges

ROWS_PER_CALL = 1024  # IOV_MAX
PAGEMAP_PAGES = 1 << 16
"""Pages whose state is asked for at once: 512 KiB of pagemap for 256 MiB of guest."""
PRESENT_OR_SWAPPED = np.uint64(0b11 << 62)


class ProcessRam:
    """ReadPhys and WritePhys over the memory of a QEMU process; extents' places are host addresses (Hva)."""

    def __init__(self, extents: list[Extent], pid: int, anonymous: bool = True) -> None:
        """`anonymous`: no file behind the memory, so pagemap tells what was ever written."""
        self._table = ExtentTable(extents)
        self._pid = pid
        self._anonymous = anonymous
        self._fd = self._write_fd = self._pagemap_fd = self._pidfd = -1
        self._fd = self._open_memory(os.O_RDONLY, "read")
        with contextlib.suppress(OSError):
            self._pagemap_fd = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            self._pidfd = os.pidfd_open(pid)
        self._many_at_once = self._pidfd >= 0
        self._end_of_process = select.poll()
        if self._pidfd >= 0:
            self._end_of_process.register(self._pidfd, select.POLLIN)
        libc = ctypes.CDLL(None, use_errno=True)
        self._process_vm_readv = libc.process_vm_readv
        self._process_vm_readv.restype = ctypes.c_ssize_t
        self._process_vm_readv.argtypes = [
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_ulong,
            ctypes.c_void_p,
            ctypes.c_ulong,
            ctypes.c_ulong,
        ]

    def _open_memory(self, mode: int, verb: str) -> int:
        try:
            return os.open(f"/proc/{self._pid}/mem", mode | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError) as error:
            raise TargetGone(f"process {self._pid} ended") from error
        except PermissionError as error:
            raise TargetDenied(
                f"the host does not let this user {verb} the memory of process {self._pid}",
                hint="run vmon as root, or as QEMU's user with kernel.yama.ptrace_scope=0",
            ) from error

    @property
    def ranges(self) -> tuple[RamRange, ...]:
        """The guest's RAM, holes left out."""
        return self._table.ranges

    def read(self, gpa: Gpa, size_bytes: int) -> bytes:
        """Exactly that many bytes, or PhysReadError."""
        pieces = self._table.pieces(gpa, size_bytes)
        if len(pieces) == 1:
            return self._pread(gpa, pieces[0][1], size_bytes)
        return b"".join(self._pread(gpa, place_hva, size) for _, place_hva, size in pieces)

    def _pread(self, gpa: int, hva: int, size_bytes: int) -> bytes:
        parts: list[bytes] = []
        got_bytes = 0
        while got_bytes < size_bytes:
            try:
                data = os.pread(self._fd, size_bytes - got_bytes, hva + got_bytes)
            except OSError as error:
                self._raise_if_gone(error)
                raise PhysReadError(gpa + got_bytes, size_bytes - got_bytes) from error
            if not data:
                raise TargetGone(f"QEMU process {self._pid} ended")
            if len(data) == size_bytes:
                return data
            parts.append(data)
            got_bytes += len(data)
        return b"".join(parts)

    def write(self, gpa: Gpa, data: bytes) -> None:
        """All of the bytes, or PhysReadError."""
        pieces = self._table.pieces(gpa, len(data))
        if self._write_fd < 0:
            fd = self._open_memory(os.O_RDWR, "write")
            # The pid is named once more here: it is still QEMU's only if its pidfd says so afterwards.
            try:
                self._raise_if_gone()
            except TargetGone:
                os.close(fd)
                raise
            self._write_fd = fd
        done_bytes = 0
        for _, place_hva, size in pieces:
            self._pwrite(gpa + done_bytes, place_hva, data[done_bytes : done_bytes + size])
            done_bytes += size

    def _pwrite(self, gpa: int, hva: int, data: bytes) -> None:
        done_bytes = 0
        while done_bytes < len(data):
            try:
                written_bytes = os.pwrite(self._write_fd, data[done_bytes:], hva + done_bytes)
            except OSError as error:
                self._raise_if_gone(error)
                raise PhysReadError(gpa + done_bytes, len(data) - done_bytes) from error
            if not written_bytes:
                raise TargetGone(f"QEMU process {self._pid} ended")
            done_bytes += written_bytes

    def _raise_if_gone(self, cause: OSError | None = None) -> None:
        if self._pidfd >= 0 and self._end_of_process.poll(0):
            raise TargetGone(f"QEMU process {self._pid} ended") from cause

    def gather(self, gpas: NDArray[np.uint64], size_bytes: int) -> NDArray[np.uint8]:
        """Rows of `size_bytes` at many addresses; zeros where that is not all RAM."""
        count = len(gpas)
        if not count or size_bytes < 1:
            return np.zeros((count, max(size_bytes, 0)), np.uint8)
        gpas = np.asarray(gpas, np.uint64)
        places, inside, _ = self._table.places(gpas, size_bytes)
        if inside.all():
            rows = np.empty((count, size_bytes), np.uint8)
            self._gather_places(places, rows)
            return rows
        rows = np.zeros((count, size_bytes), np.uint8)
        chosen = np.flatnonzero(inside)
        picked = np.empty((len(chosen), size_bytes), np.uint8)
        self._gather_places(places[chosen], picked)
        rows[chosen] = picked
        for index in np.flatnonzero(~inside & self._table.contains(gpas, size_bytes)).tolist():
            rows[index] = np.frombuffer(self.read(Gpa(int(gpas[index])), size_bytes), np.uint8)
        return rows

    def _gather_places(self, hvas: NDArray[np.uint64], rows: NDArray[np.uint8]) -> None:
        done = self._gather_at_once(hvas, rows) if self._many_at_once else 0
        size_bytes = rows.shape[1]
        for index in range(done, len(hvas)):
            view = memoryview(rows[index])
            try:
                got_bytes = os.preadv(self._fd, [view], int(hvas[index]))
            except OSError as error:
                self._raise_if_gone(error)
                got_bytes = -1
            if got_bytes == 0:
                raise TargetGone(f"QEMU process {self._pid} ended")
            if got_bytes != size_bytes:  # a piece of RAM was unplugged since attach
                rows[index] = 0

    def _gather_at_once(self, hvas: NDArray[np.uint64], rows: NDArray[np.uint8]) -> int:
        """As many rows as process_vm_readv gives; the rest is for the slow way, which knows why."""
        size_bytes = rows.shape[1]
        remote = np.empty((len(hvas), 2), np.uint64)
        remote[:, 0] = hvas
        remote[:, 1] = size_bytes
        done = 0
        while done < len(hvas):
            count = min(ROWS_PER_CALL, len(hvas) - done)
            local = np.array([rows.ctypes.data + done * size_bytes, count * size_bytes], np.uint64)
            got_bytes = self._process_vm_readv(
                self._pid, local.ctypes.data, 1, remote.ctypes.data + done * 16, count, 0
            )
            if got_bytes < 0 and ctypes.get_errno() in (errno.EPERM, errno.ENOSYS):
                # It asks for the right at every call, /proc/PID/mem asked once: privileges were dropped.
                self._many_at_once = False
                break
            done += max(got_bytes, 0) // size_bytes
            if got_bytes != count * size_bytes:
                break
        # The call names a pid, which is safe only as long as the process was there after it: a pid is not
        # given to another process before its pidfd has reported the end.
        self._raise_if_gone()
        return done

    def contains(self, gpas: NDArray[np.uint64], size_bytes: int) -> NDArray[np.bool_]:
        """For each address, whether `size_bytes` bytes from there are RAM."""
        return self._table.contains(np.asarray(gpas, np.uint64), size_bytes)

    def populated(self) -> Iterator[RamRange]:
        """The pages that QEMU has in memory or in swap; all RAM where pagemap can't say."""
        if self._pagemap_fd < 0 or not self._anonymous:
            return iter(self.ranges)
        return join_ranges(self._present_ranges())

    def _present_ranges(self) -> Iterator[RamRange]:
        for extent in self._table.extents:
            first_page = extent.place >> PAGE_SHIFT
            end_page = (extent.place + extent.size_bytes + PAGE_SIZE_BYTES - 1) >> PAGE_SHIFT
            for page in range(first_page, end_page, PAGEMAP_PAGES):
                count = min(PAGEMAP_PAGES, end_page - page)
                words = os.pread(self._pagemap_fd, count * 8, page * 8)
                if not words:
                    raise TargetGone(f"QEMU process {self._pid} ended")
                present = np.frombuffer(words, np.uint64) & PRESENT_OR_SWAPPED != 0
                edges = np.flatnonzero(np.diff(present, prepend=False, append=False)).tolist()
                for start, end in zip(edges[::2], edges[1::2], strict=True):
                    start_hva = max((page + start) << PAGE_SHIFT, extent.place)
                    end_hva = min((page + end) << PAGE_SHIFT, extent.place + extent.size_bytes)
                    yield RamRange(Gpa(extent.gpa + start_hva - extent.place), end_hva - start_hva)

    def close(self) -> None:
        """Give the descriptors back."""
        for fd in (self._fd, self._write_fd, self._pagemap_fd, self._pidfd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._write_fd = self._pagemap_fd = self._pidfd = -1
