"""An inode is the file itself: its type, number and size; its super_block says on which device and file system.

Reads inode, super_block, file_system_type. A hostile guest decides every value; the name of a file system is bounded.
An inode that was freed and used again meanwhile shows its new file.
Sources: include/linux/fs.h, include/linux/kdev_t.h.
"""

from __future__ import annotations

import stat
from typing import NamedTuple

import numpy as np

from vmon.core.address import Gva
from vmon.core.errors import GuestDataError
from vmon.kernel.columns import Column
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel, distinct

MAX_FILESYSTEM_NAME_BYTES = 64
INODE_FIELDS = "i_mode i_ino i_size i_sb"
WANTS = Wants(
    structs={
        "inode": INODE_FIELDS,
        "super_block": "s_dev s_type",
        "file_system_type": "name",
    }
)


class Inodes(NamedTuple):
    """What stat() would say of many inodes: a column a field. Unknown, 0, 0, 0 for a null pointer."""

    types: list[str]
    numbers: list[int]
    devices: list[int]
    """As in struct stat, major << 8 | minor for small numbers."""
    sizes: list[int]


def read_inodes(kernel: Kernel, inodes: Column) -> Inodes:
    """Inodes by their addresses, in that order."""
    columns = kernel.read("inode", INODE_FIELDS, inodes)
    modes = np.where(inodes != 0, columns["i_mode"].astype(np.int64), -1).tolist()
    # Thousands of files are of a handful of types.
    types = {mode: file_type(mode) if mode >= 0 else "unknown" for mode in set(modes)}
    blocks, which = distinct(columns["i_sb"])
    devices = user_devices(kernel.read("super_block", "s_dev", blocks)["s_dev"])
    return Inodes(
        [types[mode] for mode in modes],
        columns["i_ino"].tolist(),
        # Index -1 is for a null pointer.
        np.append(devices, np.uint64(0))[which].tolist(),
        columns["i_size"].tolist(),
    )


def read_filesystems(kernel: Kernel, super_blocks: Column) -> list[str]:
    """Name of each super_block's type of file system; empty where that leads nowhere."""
    blocks, which = distinct(super_blocks)
    types = kernel.read("super_block", "s_type", blocks)["s_type"]
    pointers = kernel.read("file_system_type", "name", types)["name"]
    names = [_string(kernel, pointer) for pointer in pointers.tolist()]
    return [names[index] if index >= 0 else "" for index in which.tolist()]


def _string(kernel: Kernel, gva: int) -> str:
    try:
        return kernel.memory.string(Gva(gva), MAX_FILESYSTEM_NAME_BYTES).decode("ascii", "replace")
    except GuestDataError:
        return ""


def user_devices(devices: Column) -> Column:
    """Kernel dev_t (12 + 20 bits) to the numbers that stat() gives."""
    major, minor = devices >> np.uint64(20), devices & np.uint64(0xFFFFF)
    low, high = minor & np.uint64(0xFF), minor & ~np.uint64(0xFF)
    numbers: Column = low | major << np.uint64(8) | high << np.uint64(12)
    return numbers


TYPE_NAMES = {
    stat.S_IFREG: "regular",
    stat.S_IFDIR: "directory",
    stat.S_IFCHR: "character",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFLNK: "symlink",
}


def file_type(mode: int) -> str:
    """Type of a file by its mode; "anonymous" for inodes without one (epoll, eventfd...)."""
    return TYPE_NAMES.get(stat.S_IFMT(mode), "anonymous")
