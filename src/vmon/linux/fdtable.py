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
from vmon.kernel.columns import Column, unique
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel

MAX_FDS = 1 << 20
MAX_FDS_IN_ALL = 4 << 20
INLINE_FDS = 64
GATHERED_FDS = 4096
GATHERED_BYTES = 8 << 20

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


Part = tuple[NDArray[np.int64], NDArray[np.int64], Column, NDArray[np.bool_]]


def read_fds(kernel: Kernel, files: Column) -> OpenFds:
    """Open descriptors of many processes. Null entries of `files` (kernel threads, zombies) have none."""
    rows = np.flatnonzero(files)
    tables = kernel.read("files_struct", "fdt", files[rows])["fdt"]
    table = kernel.read("fdtable", "max_fds fd open_fds close_on_exec", tables)
    limits = table["max_fds"] & np.uint64(0xFFFF_FFFF)
    truncated = frozenset(rows[limits > MAX_FDS].tolist())
    limits = np.minimum(limits, np.uint64(MAX_FDS)) & ~np.uint64(INLINE_FDS - 1)
    slots, opened, cloexec = table["fd"], table["open_fds"], table["close_on_exec"]
    unreadable: set[int] = set(rows[(limits == 0) | (slots == 0)].tolist())
    parts: list[Part] = []
    budget = MAX_FDS_IN_ALL

    def keep(part: Part) -> None:
        """Take over what fits into the budget; whose descriptors do not is named."""
        nonlocal budget
        owners, counts = np.unique(part[0], return_counts=True)
        fitting = np.cumsum(counts) <= budget
        budget -= int(counts[fitting].sum())
        unreadable.update(owners[~fitting].tolist())
        kept = np.isin(part[0], owners[fitting])
        parts.append((part[0][kept], part[1][kept], part[2][kept], part[3][kept]))

    # Tables come in few sizes, so those of one size are read together.
    is_mapped = kernel.memory.mapped
    mapped = is_mapped(slots) & is_mapped(opened) & is_mapped(cloexec)
    unreadable.update(rows[~mapped].tolist())
    usable = mapped & (limits > 0)
    for limit in unique(limits[usable & (limits <= GATHERED_FDS)]).tolist():
        same = np.flatnonzero(usable & (limits == np.uint64(limit)))
        step = max(1, GATHERED_BYTES // (8 * limit))
        for at in range(0, len(same), step):
            some = same[at : at + step]
            keep(_read_alike(kernel, limit, rows[some], slots[some], opened[some], cloexec[some]))
    for index in np.flatnonzero(usable & (limits > GATHERED_FDS)).tolist():
        places = [Gva(int(column[index])) for column in (slots, opened, cloexec)]
        try:
            keep(_read_large(kernel, int(limits[index]), int(rows[index]), *places))
        except GuestDataError:
            unreadable.add(int(rows[index]))
    none = np.zeros(0, dtype=np.int64)
    parts.append((none, none, none.astype(np.uint64), none.astype(bool)))
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


def _read_alike(
    kernel: Kernel, limit: int, rows: NDArray[np.int64], slots: Column, opened: Column, cloexec: Column
) -> Part:
    """Tables of one size: one gather for the slots of all, one for each bitmap."""
    gather = kernel.memory.gather
    files = gather(slots, 8 * limit).view("<u8")
    bits = np.unpackbits(gather(opened, limit // 8), axis=1, bitorder="little").view(bool)
    shut = np.unpackbits(gather(cloexec, limit // 8), axis=1, bitorder="little").view(bool)
    owner, fd = np.nonzero(bits & (files != 0))
    return rows[owner], fd, files[owner, fd].astype(np.uint64), shut[owner, fd]


def _read_large(kernel: Kernel, limit: int, row: int, slots_at: Gva, open_at: Gva, cloexec_at: Gva) -> Part:
    """One table of thousands of slots: no more of it than up to the highest open one."""
    read = kernel.memory.read
    size = limit // 8
    opened = np.unpackbits(np.frombuffer(read(open_at, size), dtype=np.uint8), bitorder="little")
    shut = np.unpackbits(np.frombuffer(read(cloexec_at, size), dtype=np.uint8), bitorder="little")
    fd = np.flatnonzero(opened)
    highest = int(fd[-1]) + 1 if fd.size else 0
    slots = np.frombuffer(read(slots_at, 8 * highest), dtype="<u8")
    fd = fd[slots[fd] != 0]
    return np.full(fd.size, row, dtype=np.int64), fd, slots[fd].astype(np.uint64), shut[fd].astype(bool)


def open_mode(flags: int) -> str:
    """Access mode as psutil spells it: r, w, a, r+, a+."""
    access = flags & O_ACCMODE
    if access == O_RDWR:
        return "a+" if flags & O_APPEND else "r+"
    if access == O_WRONLY:
        return "a" if flags & O_APPEND else "w"
    return "r"
