"""Every inode hangs on its super block, and those on `super_blocks`: so files are found that nobody has open.

Reads super_block, inode, dentry. Block devices are left out: their pages are the file systems' own structures. A
hostile guest can bend the lists: they are bounded. When the guest drops an inode meanwhile, the list of its super
block can break: what was found up to there counts, and the rest is told.
Sources: include/linux/fs.h, fs/inode.c, fs/super.c, include/linux/dcache.h.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure, GuestDataError
from vmon.core.text import guest_text
from vmon.kernel.columns import Column, text_rows
from vmon.kernel.profile import Wants
from vmon.linux import dentry, inode
from vmon.linux.kernel import Kernel
from vmon.linux.task import walk_list

WANTS = (
    dentry.WANTS
    | inode.WANTS
    | Wants(
        symbols=("super_blocks",),
        structs={
            "super_block": "s_list s_inodes s_id",
            "inode": "i_sb_list i_mode i_mapping i_data i_dentry i_ino",
            "address_space": "nrpages",
            # d_alias: in a union named d_u, which lost its name by 7.2.
            "dentry": "d_alias|d_u.d_alias d_parent d_name.name d_name.len",
        },
    )
)
MAX_SUPER_BLOCKS = 10_000
MAX_INODES = 2_000_000
MAX_DEPTH = 200
MAX_NAME_BYTES = 255
S_IFMT, S_IFREG = 0o170000, 0o100000


@dataclass(frozen=True, slots=True)
class CachedFile:
    """A regular file of which the guest has pages in memory."""

    inode: Gva
    mapping: Gva
    filesystem: str
    """Its type and what it lies on, as in ext4 (vda1)."""
    path: str
    """From the root of its file system; empty where no name is in memory."""


def find_cached_files(kernel: Kernel, gaps: Gaps) -> Iterator[CachedFile]:
    """Every regular file with pages of its own, of every file system. Some milliseconds for 10,000 inodes."""
    offset = kernel.offset("super_block", "s_list")
    nodes = walk_list(kernel, kernel.symbol("super_blocks"), "super_block.s_list", MAX_SUPER_BLOCKS)
    blocks = np.array(nodes, dtype=np.uint64) - np.uint64(offset)
    names = [guest_text(name) for name in text_rows(kernel.read("super_block", "s_id", blocks).raw("s_id"))]
    kinds = inode.read_filesystems(kernel, blocks)
    for block, kind, name in zip(blocks.tolist(), kinds, names, strict=True):
        for gva, mapping in zip(*_with_pages(kernel, Gva(block), gaps), strict=True):
            yield CachedFile(Gva(gva), Gva(mapping), f"{kind} ({name})", _path(kernel, Gva(gva)))


def _with_pages(kernel: Kernel, block: Gva, gaps: Gaps) -> tuple[list[int], list[int]]:
    head = Gva(block + kernel.offset("super_block", "s_inodes"))
    inodes = _inodes(kernel, head, gaps) - np.uint64(kernel.offset("inode", "i_sb_list"))
    columns = kernel.read("inode", "i_mode i_mapping", inodes)
    own = columns["i_mapping"] == inodes + np.uint64(kernel.offset("inode", "i_data"))
    pages = kernel.read("address_space", "nrpages", columns["i_mapping"])["nrpages"]
    wanted = own & ((columns["i_mode"] & np.uint64(S_IFMT)) == S_IFREG) & (pages != 0)
    return inodes[wanted].tolist(), columns["i_mapping"][wanted].tolist()


def _inodes(kernel: Kernel, head: Gva, gaps: Gaps) -> Column:
    """The list of one super block; where it breaks, what came before."""
    found: list[int] = []
    at = kernel.memory.u64(head)
    seen: set[int] = set()
    try:
        while at != head:
            if at in seen or len(found) > MAX_INODES:
                raise BadStructure("a list that runs into itself", field="super_block.s_inodes", address=at)
            seen.add(at)
            found.append(at)
            at = kernel.memory.u64(Gva(at))
    except GuestDataError as error:
        gaps.add("files", "torn", error.message)
    return np.array(found, dtype=np.uint64)


def _path(kernel: Kernel, gva: Gva) -> str:
    """Names from the first dentry of an inode up to the root of its file system."""
    try:
        alias = kernel.memory.u64(Gva(gva + kernel.offset("inode", "i_dentry")))
        if not alias:
            return ""
        at = alias - kernel.offset("dentry", "d_alias")
        names: list[bytes] = []
        for _ in range(MAX_DEPTH):
            columns = kernel.read_one("dentry", "d_parent d_name.name d_name.len", at)
            parent = int(columns["d_parent"][0])
            if parent in (at, 0):
                break
            length = min(int(columns["d_name.len"][0]), MAX_NAME_BYTES)
            names.append(kernel.memory.read(Gva(int(columns["d_name.name"][0])), length))
            at = parent
        return "/" + guest_text(b"/".join(reversed(names)))
    except GuestDataError:
        return ""
