"""A path is a (mount, dentry) pair: names are joined upwards through d_parent, and across mounts, to the root.

Reads dentry, mount, and the inodes of files without a name. A hostile guest can make the tree a loop: depth and name
lengths are bounded. When the guest renames meanwhile, a path can mix the old and the new name of one component.
Sources: fs/d_path.c, fs/mount.h, include/linux/dcache.h.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from vmon.core.address import Gva
from vmon.core.errors import GuestDataError
from vmon.kernel.columns import Column, Columns, text_rows, unique
from vmon.kernel.profile import Wants
from vmon.linux.inode import read_filesystems
from vmon.linux.kernel import Kernel, distinct

MAX_DEPTH = 200
MAX_NAME_BYTES = 255
MAX_DENTRIES = 1_000_000

# d_shortname: d_iname until 6.14. d_name sits in an anonymous union since 6.16.
DENTRY_FIELDS = "d_parent d_name.name d_name.len d_inode d_hash.pprev d_op d_shortname"
MOUNT_FIELDS = "mnt_parent mnt_mountpoint mnt.mnt_root"
WANTS = Wants(
    structs={
        "dentry": DENTRY_FIELDS + "|d_iname",
        "dentry_operations": "d_dname",
        "mount": MOUNT_FIELDS + " mnt mnt_id mnt_ns",
        "inode": "i_ino i_sb i_private",
        "ns_common": "ops inum",
        "proc_ns_operations": "name",
        "fs_struct": "pwd.mnt pwd.dentry root.mnt root.dentry",
    }
)


NOWHERE = (0, 0, 0)


class Path(msgspec.Struct, frozen=True, gc=False):
    """Where a file is in the guest's mount tree, seen from its topmost root."""

    text: bytes
    deleted: bool


class _Dentry(msgspec.Struct, frozen=True, gc=False):
    parent: int
    name: bytes
    unhashed: bool


class Paths:
    """Resolves many (vfsmount, dentry) pairs at once; what two paths share is read once.

    Lives for one snapshot: nothing read here outlasts it.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._mounts: dict[int, tuple[int, int, int]] = {}
        self._dentries: dict[int, _Dentry] = {}
        self._special: dict[int, Path] = {}
        self._known: dict[tuple[int, int], bytes | None] = {}
        self._mnt_offset = kernel.offset("mount", "mnt")
        self._short_offset = kernel.offset("dentry", "d_shortname")

    def load(self, vfsmounts: Column, dentries: Column) -> None:
        """Read all that these pairs need, level by level: one gather a level of the tree."""
        present = vfsmounts[vfsmounts != 0]
        pending = unique(present - np.uint64(self._mnt_offset))
        mountpoints: list[Column] = [dentries]
        for _ in range(MAX_DEPTH):
            pending = self._new(pending, self._mounts)
            if not pending.size:
                break
            columns = self._kernel.read("mount", MOUNT_FIELDS, pending)
            parents, points, roots = columns["mnt_parent"], columns["mnt_mountpoint"], columns["mnt.mnt_root"]
            rows = zip(parents.tolist(), points.tolist(), roots.tolist(), strict=True)
            self._mounts.update(zip(pending.tolist(), rows, strict=True))
            mountpoints.append(points)
            pending = unique(parents)
        self._load_dentries(np.concatenate(mountpoints))

    def _load_dentries(self, dentries: Column) -> None:
        pending = unique(dentries)
        read: list[tuple[Column, Column, Column]] = []
        for _ in range(MAX_DEPTH):
            pending = self._new(pending, self._dentries)
            if not pending.size or len(self._dentries) > MAX_DENTRIES:
                break
            columns = self._kernel.read("dentry", DENTRY_FIELDS, pending)
            parents = columns["d_parent"]
            unhashed = columns["d_hash.pprev"] == 0
            nodes = map(_Dentry, parents.tolist(), self._names(pending, columns), unhashed.tolist())
            self._dentries.update(zip(pending.tolist(), nodes, strict=True))
            read.append((pending, columns["d_op"], columns["d_inode"]))
            pending = unique(parents)
        if read:
            found, ops, inodes = map(np.concatenate, zip(*read, strict=True))
            named = self._named_by_op(ops)
            if named.any():
                self._load_special(found[named], inodes[named])

    def _named_by_op(self, ops: Column) -> NDArray[np.bool_]:
        """Which dentries have no name but a function that makes one up."""
        operations, which = distinct(ops)
        dname = self._kernel.read("dentry_operations", "d_dname", operations)["d_dname"] != 0
        # Index -1 is for a null pointer.
        return np.append(dname, False)[which]

    def _load_special(self, dentries: Column, inodes: Column) -> None:
        columns = self._kernel.read("inode", "i_ino i_sb i_private", inodes)
        rows = zip(
            dentries.tolist(),
            read_filesystems(self._kernel, columns["i_sb"]),
            columns["i_ino"].tolist(),
            columns["i_private"].tolist(),
            strict=True,
        )
        for gva, filesystem, number, private in rows:
            self._special[gva] = self._made_up(gva, filesystem, number, private)

    def _names(self, dentries: Column, columns: Columns) -> list[bytes]:
        """Short names lie in the dentry itself; long ones are read one by one."""
        names = text_rows(columns.raw("d_shortname"))
        pointers = columns["d_name.name"]
        for row in np.flatnonzero(pointers != dentries + np.uint64(self._short_offset)).tolist():
            try:
                length = min(int(columns["d_name.len"][row]), MAX_NAME_BYTES)
                names[row] = self._kernel.memory.read(Gva(int(pointers[row])), length)
            except GuestDataError:
                names[row] = b"?"
        return names

    @staticmethod
    def _new(gvas: Column, known: Mapping[int, object]) -> Column:
        fresh = [gva for gva in gvas.tolist() if gva and gva not in known]
        return np.array(fresh, dtype=np.uint64)

    def resolve(self, vfsmount: int, dentry: int) -> Path | None:
        """The path of a loaded pair; None for a null pair or a tree that makes no sense."""
        node = self._dentries.get(dentry)
        if node is None or not vfsmount:
            return None
        mount = vfsmount - self._mnt_offset
        special = self._special.get(dentry)
        if special is not None and (node.parent != dentry or self._mounts.get(mount, NOWHERE)[2] != dentry):
            return special
        text = self._join(mount, dentry, 0)
        if text is None:
            return None
        return Path(text or b"/", node.unhashed and node.parent != dentry)

    def within(self, dentry: int) -> Path | None:
        """Where a loaded dentry is in its own file system, whatever is mounted where; None for null or a circle."""
        node = self._dentries.get(dentry)
        special = self._special.get(dentry)
        if node is None or special is not None:
            return special
        deleted, at = node.unhashed and node.parent != dentry, dentry
        names: list[bytes] = []
        while node.parent != at and len(names) <= MAX_DEPTH:
            names.append(node.name)
            at = node.parent
            above = self._dentries.get(at)
            if above is None:
                return None
            node = above
        return Path(b"/" + b"/".join(reversed(names)), deleted) if node.parent == at else None

    def _join(self, mount: int, dentry: int, depth: int) -> bytes | None:
        key = (mount, dentry)
        if key in self._known:
            return self._known[key]
        result: bytes | None = None
        place = self._mounts.get(mount)
        node = self._dentries.get(dentry)
        if depth <= 2 * MAX_DEPTH and place is not None and node is not None:
            parent, point, root = place
            if dentry in (root, node.parent):
                result = b"" if parent in (mount, 0) else self._join(parent, point, depth + 1)
            else:
                above = self._join(mount, node.parent, depth + 1)
                result = None if above is None else above + b"/" + node.name
        self._known[key] = result
        return result

    def _made_up(self, dentry: int, filesystem: str, inode: int, private: int) -> Path:
        """What d_op->d_dname says: pipes, sockets, anonymous inodes, namespaces, unlinked shared memory."""
        match filesystem:
            case "sockfs":
                return Path(b"socket:[%d]" % inode, False)
            case "pipefs":
                return Path(b"pipe:[%d]" % inode, False)
            case "anon_inodefs":
                return Path(b"anon_inode:" + self._dentries[dentry].name, False)
            case "pidfs":
                return Path(b"anon_inode:[pidfd]", False)
            case "nsfs":
                return Path(b"%s:[%d]" % (self._namespace(private), inode), False)
        return Path(b"/" + self._dentries[dentry].name, True)

    def _namespace(self, ns_common: int) -> bytes:
        """Name of a namespace's kind: mnt, net, pid..."""
        try:
            ops = int(self._kernel.read_one("ns_common", "ops", ns_common)["ops"][0])
            name = int(self._kernel.read_one("proc_ns_operations", "name", ops)["name"][0])
            return self._kernel.memory.string(Gva(name), 16)
        except GuestDataError:
            return b"ns"
