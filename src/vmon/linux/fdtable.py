"""Open files: files_struct -> fdtable -> an array of struct file, with a bitmap of which are open.

Reads files_struct, fdtable, file. A hostile guest can claim any table size: it is bounded, and only slots whose bit
is set are followed. When the guest opens or closes meanwhile, a file is in the list or it is not.
Sources: include/linux/fdtable.h, include/linux/fs.h, fs/proc/fd.c.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vmon.core.address import Gva
from vmon.core.errors import GuestDataError
from vmon.kernel.columns import Column
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel

MAX_FDS = 1 << 20
MAX_FDS_IN_ALL = 4 << 20
INLINE_FDS = 64

# f_path: also __f_path since 6.18, read-only f_path stays beside it.
FILE_FIELDS = (
    "f_path.mnt|__f_path.mnt f_path.dentry|__f_path.dentry f_inode f_flags f_mode f_pos private_data"
)
WANTS = Wants(
    structs={
        "files_struct": "fdt",
        "fdtable": "max_fds fd open_fds close_on_exec",
        "file": FILE_FIELDS,
    }
)
FILE_COLUMNS = " ".join(word.split("|")[0] for word in FILE_FIELDS.split())
O_ACCMODE, O_WRONLY, O_RDWR, O_APPEND, O_CLOEXEC = 0o3, 0o1, 0o2, 0o2000, 0o2000000


@dataclass(frozen=True, slots=True)
class OpenFds:
    """Every open descriptor of many processes, flat: three columns of equal length."""

    owner: NDArray[np.int64]
    """Which of the files_structs asked for."""
    fd: NDArray[np.int64]
    file: Column
    cloexec: NDArray[np.bool_]
    unreadable: frozenset[int]
    """Owners whose table could not be read."""
    truncated: frozenset[int]
    """Owners whose table is larger than vmon reads."""


def read_fds(kernel: Kernel, files: Column) -> OpenFds:
    """Open descriptors of many processes. Null entries of `files` (kernel threads, zombies) have none."""
    rows = np.flatnonzero(files)
    tables = kernel.read("files_struct", "fdt", files[rows])["fdt"]
    table = kernel.read("fdtable", "max_fds fd open_fds close_on_exec", tables)
    limits = table["max_fds"] & np.uint64(0xFFFF_FFFF)
    truncated = frozenset(rows[limits > MAX_FDS].tolist())
    limits = np.minimum(limits, np.uint64(MAX_FDS))
    small = limits <= INLINE_FDS
    parts: list[tuple[NDArray[np.int64], NDArray[np.int64], Column, NDArray[np.bool_]]] = []
    unreadable: set[int] = set(rows[(limits == 0) | (table["fd"] == 0)].tolist())

    quick = np.flatnonzero(small & (limits > 0))
    if quick.size:
        opened = kernel.memory.gather(table["open_fds"][quick], 8)
        cloexec = kernel.memory.gather(table["close_on_exec"][quick], 8)
        # A table of 64 takes 512 bytes; the whole is read although few slots are used: one gather for all.
        slots = kernel.memory.gather(table["fd"][quick], 8 * INLINE_FDS).view("<u8")
        bits = np.unpackbits(opened, axis=1, bitorder="little").astype(bool)
        shut = np.unpackbits(cloexec, axis=1, bitorder="little").astype(bool)
        owner, fd = np.nonzero(bits & (slots != 0))
        parts.append((rows[quick][owner], fd, slots[owner, fd], shut[owner, fd]))

    budget = MAX_FDS_IN_ALL
    for index in np.flatnonzero(~small).tolist():
        row = int(rows[index])
        try:
            fd, pointers, shut_on = _read_large(
                kernel,
                int(limits[index]),
                Gva(int(table["fd"][index])),
                Gva(int(table["open_fds"][index])),
                Gva(int(table["close_on_exec"][index])),
            )
        except GuestDataError:
            unreadable.add(row)
            continue
        budget -= fd.size
        if budget < 0:
            unreadable.add(row)
            continue
        parts.append((np.full(fd.size, row, dtype=np.int64), fd, pointers, shut_on))

    if not parts:
        empty = np.zeros(0, dtype=np.int64)
        return OpenFds(
            empty, empty, empty.astype(np.uint64), empty.astype(bool), frozenset(unreadable), truncated
        )
    owners, fds, pointers, shuts = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((fds, owners))
    return OpenFds(
        owners[order].astype(np.int64),
        fds[order].astype(np.int64),
        pointers[order].astype(np.uint64),
        shuts[order].astype(bool),
        frozenset(unreadable),
        truncated,
    )


def _read_large(
    kernel: Kernel, limit: int, slots_at: Gva, open_at: Gva, cloexec_at: Gva
) -> tuple[NDArray[np.int64], Column, NDArray[np.bool_]]:
    read = kernel.memory.read
    size = limit // 8
    opened = np.unpackbits(np.frombuffer(read(open_at, size), dtype=np.uint8), bitorder="little")
    fd = np.flatnonzero(opened)
    if not fd.size:
        return fd, fd.astype(np.uint64), fd.astype(bool)
    shut = np.unpackbits(np.frombuffer(read(cloexec_at, size), dtype=np.uint8), bitorder="little")
    highest = int(fd[-1]) + 1
    slots = np.frombuffer(read(slots_at, 8 * highest), dtype="<u8")
    fd = fd[slots[fd] != 0]
    return fd, slots[fd].astype(np.uint64), shut[fd].astype(bool)


def open_mode(flags: int) -> str:
    """Access mode as psutil spells it: r, w, a, r+, a+."""
    access = flags & O_ACCMODE
    if access == O_RDWR:
        return "a+" if flags & O_APPEND else "r+"
    if access == O_WRONLY:
        return "a" if flags & O_APPEND else "w"
    return "r"
