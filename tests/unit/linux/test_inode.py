from __future__ import annotations

import stat

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import steady
from tests.unit.linux.build import Guest
from vmon.linux.inode import MAX_FILESYSTEM_NAME_BYTES, Inodes, file_type, read_filesystems, read_inodes

WILD = 0xFFFF_F000_0000_0000


def column(*values: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.array(values, dtype=np.uint64)


def test_what_stat_would_say_in_the_order_asked_for() -> None:
    guest = Guest("new")
    file = guest.inode(0o100644, 12, i_size=(1 << 40) + 1)
    orphan = guest.inode(0o40700, 4)
    guest.set(orphan, "inode", {"i_sb": 0})
    found = read_inodes(guest.kernel(), column(file, 0, orphan, file))
    size = (1 << 40) + 1
    assert found.types == ["regular", "unknown", "directory", "regular"]
    assert found.numbers == [12, 0, 4, 12]
    assert found.devices == [8 << 8 | 1, 0, 0, 8 << 8 | 1]
    assert (found.sizes[0], found.sizes[1], found.sizes[3]) == (size, 0, size)
    assert read_inodes(guest.kernel(), column()) == Inodes([], [], [], [])


def test_large_device_numbers_are_spelled_as_stat_does() -> None:
    guest = Guest("new")
    inode = guest.inode(0o100644, 1)
    guest.set(guest.get(inode, "inode", "i_sb"), "super_block", {"s_dev": 136 << 20 | 300})
    assert read_inodes(guest.kernel(), column(inode)).devices == [
        (300 & 0xFF) | 136 << 8 | (300 & ~0xFF) << 12
    ]


def test_pointers_that_lead_nowhere() -> None:
    guest = Guest("new")
    inode = guest.inode(0o100644, 1)
    guest.set(inode, "inode", {"i_sb": WILD})
    found = read_inodes(guest.kernel(), column(WILD, inode))
    assert found.types == ["anonymous", "regular"]
    assert found.devices == [0, 0]


def test_names_of_file_systems() -> None:
    guest = Guest("new")
    blocks = [guest.get(guest.inode(0, 1, name), "inode", "i_sb") for name in ("ext4", "devpts", "ext4")]
    nameless = guest.new("super_block", {"s_type": guest.new("file_system_type", {"name": WILD})})
    endless = guest.new(
        "super_block", {"s_type": guest.new("file_system_type", {"name": guest.string(b"x" * 9999)})}
    )
    names = read_filesystems(guest.kernel(), column(*blocks, 0, WILD, nameless, endless))
    assert names == ["ext4", "devpts", "ext4", "", "", "", "x" * MAX_FILESYSTEM_NAME_BYTES]


def test_types_of_files() -> None:
    kinds = [
        stat.S_IFREG,
        stat.S_IFDIR,
        stat.S_IFCHR,
        stat.S_IFBLK,
        stat.S_IFIFO,
        stat.S_IFSOCK,
        stat.S_IFLNK,
        0,
    ]
    assert [file_type(kind | 0o644) for kind in kinds] == [
        "regular", "directory", "character", "block", "fifo", "socket", "symlink", "anonymous",
    ]  # fmt: skip


@steady(60)
@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.sampled_from((0, WILD, 0x10, None))), max_size=8))
def test_inodes_of_any_shape(made: list[tuple[int, int | None]]) -> None:
    guest = Guest("new")
    inodes = []
    for mode, block in made:
        inodes.append(guest.inode(mode, 7))
        if block is not None:
            guest.set(inodes[-1], "inode", {"i_sb": block})
    found = read_inodes(guest.kernel(calls_limit=100), column(*inodes))
    assert found.numbers == [7] * len(made)
    assert found.types == [file_type(mode) for mode, _ in made]
