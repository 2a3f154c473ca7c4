"""A name is found as the guest's kernel finds it when it need not ask a disk: from dentry to dentry, across mounts.

Reads the children of dentries, mounts under mounts, and the targets of symbolic links. A hostile guest can make the
tree a loop, or put a million names into a folder: steps, links and children are bounded. When the guest creates or
removes names meanwhile, a list of children is walked again before a name is said not to be there. A name that nobody
in the guest used lately is not in the cache; file systems that live in memory keep all of theirs.
Sources: fs/namei.c, fs/dcache.c, fs/mount.h.
"""

from __future__ import annotations

import stat
from typing import NamedTuple

import numpy as np

from vmon.core.address import PAGE_SIZE_BYTES, Gpa, Gva
from vmon.core.errors import BadStructure, GuestDataError, NoSuchFile, NotSupported
from vmon.core.text import guest_text
from vmon.kernel.columns import Column
from vmon.kernel.profile import Wants
from vmon.linux import dentry, overlay, pagecache
from vmon.linux.content import MADE_UP, MADE_UP_HINT
from vmon.linux.hlist import walk_hlist
from vmon.linux.inode import read_filesystems
from vmon.linux.kernel import Kernel
from vmon.linux.task import walk_list

MAX_CHILDREN = 1_000_000
MAX_MOUNTS = 100_000
MAX_STEPS = 4096
MAX_LINKS = 40
"""As many as Linux follows (MAXSYMLINKS)."""
MAX_TARGET_BYTES = PAGE_SIZE_BYTES - 1
TRIES = 3
# d_children, d_sib: an hlist since 6.8; before it two list_heads, d_subdirs and d_child (da549bdd15c2).
WANTS = (
    dentry.WANTS
    | overlay.WANTS
    | pagecache.WANTS
    | Wants(
        structs={
            "dentry": "d_children|d_subdirs d_sib|d_child",
            "mount": "mnt_mounts mnt_child",
            "inode": "i_link i_size i_mapping",
        }
    )
)
CHILD_FIELDS = "d_name.name d_name.len d_hash.pprev"
WHOLE = frozenset(("tmpfs", "rootfs", "ramfs", "devtmpfs", "hugetlbfs"))
"""File systems all of whose names are in memory."""


class Place(NamedTuple):
    """A name's place in the mount tree."""

    mount: Gva
    """struct mount, not the vfsmount within it."""
    dentry: Gva


class Lookup:
    """Finds names from one root on; lives for one question: nothing read here outlasts it."""

    def __init__(self, kernel: Kernel, vfsmount: Gva, root: Gva) -> None:
        self._kernel = kernel
        self._mounts: dict[int, dict[int, Place]] = {}
        self._root = self._covered(Place(Gva(vfsmount - kernel.offset("mount", "mnt")), root))
        self._at = self._root
        self._links = 0

    def find(self, path: bytes) -> Place:
        """Where an absolute path leads, links followed. NoSuchFile says at which name it ended."""
        self._at = self._root
        self._links = 0
        rest = path.split(b"/")[::-1]
        done: list[bytes] = []
        for _ in range(MAX_STEPS):
            if not rest:
                return self._at
            name = rest.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                self._up()
                done = done[:-1]
                continue
            before, done = self._at, [*done, name]
            self._at = self._down(name, b"/" + b"/".join(done))
            target = self._target(done)
            if target is None:
                continue
            self._links += 1
            if self._links > MAX_LINKS:
                raise NoSuchFile(f"too many symbolic links on the way to {guest_text(path)}")
            rest += target.split(b"/")[::-1]
            self._at, done = (self._root, []) if target.startswith(b"/") else (before, done[:-1])
        raise BadStructure(f"a path of more than {MAX_STEPS:,} steps", field="path")

    def inode(self, place: Place) -> Gva:
        """The inode of a place."""
        return Gva(int(self._kernel.read_one("dentry", "d_inode", place.dentry)["d_inode"][0]))

    def vfsmount(self, place: Place) -> Gva:
        """Its mount, as a struct file has it."""
        return Gva(place.mount + self._kernel.offset("mount", "mnt"))

    def _up(self) -> None:
        """To the folder above, out of mounts, but not out of the root."""
        at = self._at
        for _ in range(dentry.MAX_DEPTH):
            if at == self._root:
                return
            mount = self._kernel.read_one("mount", "mnt_parent mnt_mountpoint mnt.mnt_root", at.mount)
            parent = int(mount["mnt_parent"][0])
            if at.dentry != int(mount["mnt.mnt_root"][0]) or parent in (0, at.mount):
                break
            at = Place(Gva(parent), Gva(int(mount["mnt_mountpoint"][0])))
        above = int(self._kernel.read_one("dentry", "d_parent", at.dentry)["d_parent"][0])
        self._at = self._covered(Place(at.mount, Gva(above)))

    def _down(self, name: bytes, path: bytes) -> Place:
        """To a name in the folder where we are, and into what is mounted there."""
        kernel, folder = self._kernel, self.inode(self._at)
        columns = kernel.read_one("inode", "i_mode i_sb", folder)
        text = guest_text(path)
        if not stat.S_ISDIR(int(columns["i_mode"][0])):
            raise NoSuchFile(f"{text}: what is above it is no directory")
        child: int | None = None
        for _ in range(TRIES):
            child = self._child(name)
            if child is not None:
                break
        filesystem = read_filesystems(kernel, columns["i_sb"])[0]
        if child is None and filesystem in MADE_UP:
            raise NotSupported(
                f"{text} is in a file system ({filesystem}) whose names and content are made when they are asked for",
                hint=MADE_UP_HINT,
            )
        if child is None and filesystem not in WHOLE:
            raise NoSuchFile(
                f"{text} is not among the names that the guest has in memory",
                hint=f"nothing in the guest looked it up lately; whether its {filesystem} has it is not known",
            )
        if child is None or not int(kernel.read_one("dentry", "d_inode", child)["d_inode"][0]):
            raise NoSuchFile(f"there is no {text} in the guest")
        return self._covered(Place(self._at.mount, Gva(child)))

    def _child(self, name: bytes) -> int | None:
        """The dentry of a name in the folder where we are; a negative one where it is known to be missing."""
        kernel = self._kernel
        try:
            children = self._children(self._at.dentry)
        except GuestDataError:
            return None
        columns = kernel.read("dentry", CHILD_FIELDS, children)
        # What is not hashed was removed, or is a cursor of somebody who lists the folder.
        fitting = (columns["d_name.len"] == len(name)) & (columns["d_hash.pprev"] != 0)
        for row in np.flatnonzero(fitting).tolist():
            try:
                if kernel.memory.read(Gva(int(columns["d_name.name"][row])), len(name)) == name:
                    return int(children[row])
            except GuestDataError:
                continue
        return None

    def _children(self, folder: Gva) -> Column:
        """Addresses of all dentries below a folder's. BadStructure where the list has no end."""
        kernel = self._kernel
        layout = kernel.profile["dentry"]
        head, node = Gva(folder + layout.offset("d_children")), layout.offset("d_sib")
        if layout["d_children"].spelling:
            nodes = walk_list(kernel, head, "dentry.d_subdirs", MAX_CHILDREN)
        else:
            nodes = walk_hlist(kernel, head, "dentry.d_children", MAX_CHILDREN)
        return np.array(nodes, np.uint64) - np.uint64(node)

    def _covered(self, place: Place) -> Place:
        """What is seen at a place: the root of what is mounted over it, if anything is."""
        for _ in range(dentry.MAX_DEPTH):
            over = self._mounted(place.mount).get(place.dentry)
            if over is None:
                break
            place = over
        return place

    def _mounted(self, mount: Gva) -> dict[int, Place]:
        """What is mounted within a mount: where, and its root."""
        known = self._mounts.get(mount)
        if known is not None:
            return known
        kernel = self._kernel
        head = Gva(mount + kernel.offset("mount", "mnt_mounts"))
        nodes: list[int] = []
        for attempt in range(TRIES):
            try:
                nodes = walk_list(kernel, head, "mount.mnt_mounts", MAX_MOUNTS)
                break
            except GuestDataError:
                if attempt + 1 == TRIES:
                    raise
        below = np.array(nodes, np.uint64) - np.uint64(kernel.offset("mount", "mnt_child"))
        columns = kernel.read("mount", "mnt_mountpoint mnt.mnt_root", below)
        found: dict[int, Place] = {}
        rows = zip(
            below.tolist(), columns["mnt_mountpoint"].tolist(), columns["mnt.mnt_root"].tolist(), strict=True
        )
        for gva, point, root in rows:
            found.setdefault(point, Place(Gva(gva), Gva(root)))
        self._mounts[mount] = found
        return found

    def _target(self, done: list[bytes]) -> bytes | None:
        """Where the symbolic link at which we are leads; None where it is none."""
        kernel, node = self._kernel, self.inode(self._at)
        columns = kernel.read_one("inode", "i_mode i_sb", node)
        if not stat.S_ISLNK(int(columns["i_mode"][0])):
            return None
        if read_filesystems(kernel, columns["i_sb"])[0] == overlay.NAME:
            node = overlay.real_inode(kernel, node) or node
        try:
            target = read_link(kernel, node)
        except GuestDataError:
            target = None
        if not target:
            raise NoSuchFile(
                f"where the symbolic link /{guest_text(b'/'.join(done))} leads could not be read",
                hint="the guest did not follow it lately, its kernel makes it up (/proc/PID/exe), or it is a long one "
                "of an ext4, which keeps those among the disk's blocks",
            )
        return target


def read_link(kernel: Kernel, node: Gva) -> bytes | None:
    """The target of a symbolic link by its inode: short ones are in it, others are its first page; None: not there."""
    columns = kernel.read_one("inode", "i_link i_size i_mapping", node)
    link = int(columns["i_link"][0])
    if link:
        return kernel.memory.string(Gva(link), MAX_TARGET_BYTES)
    pages = pagecache.find_pages(kernel, Gva(int(columns["i_mapping"][0])), (0, 0))
    if not pages.indexes.size or pages.indexes[0] != 0:
        return None
    size = min(int(columns["i_size"][0]), MAX_TARGET_BYTES)
    page = kernel.memory.phys.read(Gpa(int(pages.gpas[0])), PAGE_SIZE_BYTES)
    return page[:size].split(b"\0", 1)[0]
