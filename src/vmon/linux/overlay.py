"""A file of an overlayfs has no pages of its own: its content lies in the file of the upper or a lower layer.

Reads what follows struct inode in overlayfs' own inode. overlayfs is mostly a module, whose types are not among the
kernel's: what is found there is a layer's dentry or inode only where all that it leads to fits. A hostile guest can
have another file taken for the layer's; it can't have anything but a file's pages read. When the guest copies a file
up meanwhile, the lower one's content is seen once more.
Sources: fs/overlayfs/ovl_entry.h, fs/overlayfs/util.c.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator

from vmon.core.address import Gva
from vmon.core.errors import GuestDataError
from vmon.kernel.profile import Wants
from vmon.linux import inode as inodes
from vmon.linux.inode import read_filesystems
from vmon.linux.kernel import Kernel

WANTS = inodes.WANTS | Wants(
    structs={
        "inode": "i_mode i_sb i_mapping i_data",
        "dentry": "d_inode",
        "address_space": "host",
    }
)
NAME = "overlay"
MAX_DEPTH = 4
"""Linux allows one overlay on another, and no more (FILESYSTEM_MAX_STACK_DEPTH)."""
LOWER_DENTRY = 16
"""Where the dentry of the first lower layer is in an ovl_entry: after the number of layers, and its layer."""


def real_inode(kernel: Kernel, inode: Gva) -> Gva | None:
    """The inode that holds the content of an inode of an overlayfs, through overlays of overlays; None: none fits."""
    at: Gva | None = inode
    for _ in range(MAX_DEPTH):
        at = _one_down(kernel, at) if at is not None else None
        if at is None:
            return None
        if read_filesystems(kernel, kernel.read_one("inode", "i_sb", at)["i_sb"])[0] != NAME:
            return at
    return None


def _one_down(kernel: Kernel, inode: Gva) -> Gva | None:
    """The inode of the layer below."""
    layout = kernel.profile["inode"]
    own = kernel.read_one("inode", "i_mode i_sb", inode)
    for candidate in _candidates(kernel, Gva(inode + layout.size)):
        found = kernel.read_one("inode", "i_mode i_sb i_mapping", candidate)
        mapping = int(found["i_mapping"][0])
        same_kind = stat.S_IFMT(int(found["i_mode"][0])) == stat.S_IFMT(int(own["i_mode"][0]))
        if (
            same_kind
            and int(found["i_sb"][0]) not in (0, int(own["i_sb"][0]))
            and mapping == candidate + layout.offset("i_data")
            and int(kernel.read_one("address_space", "host", mapping)["host"][0]) == candidate
        ):
            return candidate
    return None


def _candidates(kernel: Kernel, behind: Gva) -> Iterator[Gva]:
    """What could be the real inode, the upper layer's first; `behind` is what follows the inode."""
    try:
        words = kernel.memory.read(behind, 24)
    except GuestDataError:
        return
    upper, second, third = (int.from_bytes(words[at : at + 8], "little") for at in (0, 8, 16))
    yield from _of_dentry(kernel, upper)
    # The lower inode until 5.19; then a path of two words, whose second is a dentry; an ovl_entry since 6.5.
    if second:
        yield Gva(second)
    yield from _of_dentry(kernel, third)
    if second:
        try:
            yield from _of_dentry(kernel, kernel.memory.u64(Gva(second + LOWER_DENTRY)))
        except GuestDataError:
            return


def _of_dentry(kernel: Kernel, dentry: int) -> Iterator[Gva]:
    if dentry and (inode := int(kernel.read_one("dentry", "d_inode", dentry)["d_inode"][0])):
        yield Gva(inode)
