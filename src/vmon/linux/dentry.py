"""A path is a (mount, dentry) pair: names are joined upwards through d_parent, and across mounts, to the root.

Reads dentry, mount, inode, super_block. A hostile guest can make the tree a loop: depth and name lengths are bounded.
When the guest renames meanwhile, a path can mix the old and the new name of one component.
Sources: fs/d_path.c, fs/mount.h, include/linux/dcache.h.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping

import msgspec
import numpy as np

from vmon.core.address import Gva
from vmon.core.errors import GuestDataError
from vmon.kernel.columns import Column, unique
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel, distinct

MAX_DEPTH = 200
MAX_NAME_BYTES = 255
MAX_DENTRIES = 1_000_000

# d_shortname: d_iname until 6.14. d_name sits in an anonymous union since 6.16.
DENTRY_FIELDS = "d_parent d_name.name d_name.len d_inode d_hash.pprev d_op"
MOUNT_FIELDS = "mnt_parent mnt_mountpoint mnt.mnt_root"
INODE_FIELDS = "i_mode i_ino i_rdev i_size i_sb i_private i_uid i_nlink"
WANTS = Wants(
    structs={
        "dentry": DENTRY_FIELDS + " d_shortname|d_iname",
        "dentry_operations": "d_dname",
        "mount": MOUNT_FIELDS + " mnt mnt_id mnt_ns",
        "inode": INODE_FIELDS,
        "super_block": "s_dev s_type s_id",
        "file_system_type": "name",
        "ns_common": "ops inum",
        "proc_ns_operations": "name",
        "fs_struct": "pwd.mnt pwd.dentry root.mnt root.dentry",
    }
)


class Path(msgspec.Struct, frozen=True, gc=False):
    """Where a file is in the guest's mount tree, seen from its topmost root."""

    text: bytes
    deleted: bool


class Inode(msgspec.Struct, frozen=True, gc=False):
    """What stat() would say of an inode."""

    mode: int
    number: int
    device: int
    """As in struct stat, major << 8 | minor for small numbers."""
    rdev: int
    size_bytes: int
    filesystem: str
    private: int
    nlink: int
    uid: int


class _Dentry(msgspec.Struct, frozen=True, gc=False):
    parent: int
    name: bytes
    unhashed: bool
    inode: int
    named_by_op: bool


class Paths:
    """Resolves many (vfsmount, dentry) pairs at once; what two paths share is read once.

    Lives for one snapshot: nothing read here outlasts it.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._mounts: dict[int, tuple[int, int, int]] = {}
        self._dentries: dict[int, _Dentry] = {}
        self._inodes: dict[int, Inode] = {}
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
        kernel = self._kernel
        pending = unique(dentries)
        operations: dict[int, bool] = {}
        for _ in range(MAX_DEPTH):
            pending = self._new(pending, self._dentries)
            if not pending.size or len(self._dentries) > MAX_DENTRIES:
                break
            columns = kernel.read("dentry", DENTRY_FIELDS, pending)
            names = self._names(pending, columns["d_name.name"], columns["d_name.len"])
            ops = columns["d_op"]
            self._load_operations(ops, operations)
            parents = columns["d_parent"]
            rows = zip(
                pending.tolist(),
                parents.tolist(),
                names,
                (columns["d_hash.pprev"] == 0).tolist(),
                columns["d_inode"].tolist(),
                ops.tolist(),
                strict=True,
            )
            for gva, parent, name, unhashed, inode, op in rows:
                self._dentries[gva] = _Dentry(parent, name, unhashed, inode, operations.get(op, False))
            pending = unique(parents)
        # Names such as pipe:[7] are made of inodes: those of all of them are read here, at once.
        special = [node.inode for node in self._dentries.values() if node.named_by_op]
        self.inodes(np.array(special, dtype=np.uint64))

    def _load_operations(self, ops: Column, known: dict[int, bool]) -> None:
        fresh = self._new(unique(ops), known)
        if fresh.size:
            dname = self._kernel.read("dentry_operations", "d_dname", fresh)["d_dname"]
            known.update(zip(fresh.tolist(), (dname != 0).tolist(), strict=True))

    def _names(self, dentries: Column, pointers: Column, lengths: Column) -> list[bytes]:
        """Short names lie in the dentry, which one gather reads for all; long ones are read one by one."""
        kernel = self._kernel
        width = kernel.profile["dentry"]["d_shortname"].size
        inline = kernel.memory.gather(dentries + np.uint64(self._short_offset), width)
        data = inline.tobytes()
        names: list[bytes] = []
        rows = zip(dentries.tolist(), pointers.tolist(), lengths.tolist(), strict=True)
        for row, (gva, pointer, length) in enumerate(rows):
            length = min(length, MAX_NAME_BYTES)
            if pointer == gva + self._short_offset:
                names.append(data[row * width : row * width + min(length, width)])
                continue
            try:
                names.append(kernel.memory.read(Gva(pointer), length))
            except GuestDataError:
                names.append(b"?")
        return names

    @staticmethod
    def _new(gvas: Column, known: Mapping[int, object]) -> Column:
        fresh = [gva for gva in gvas.tolist() if gva and gva not in known]
        return np.array(fresh, dtype=np.uint64)

    def inodes(self, gvas: Column) -> dict[int, Inode]:
        """What stat() would say of each inode."""
        fresh = self._new(unique(gvas), self._inodes)
        if fresh.size:
            kernel = self._kernel
            columns = kernel.read("inode", INODE_FIELDS, fresh)
            blocks, which = distinct(columns["i_sb"])
            supers = kernel.read("super_block", "s_dev s_type", blocks)
            types, type_of = distinct(supers["s_type"])
            name_pointers = kernel.read("file_system_type", "name", types)["name"]
            filesystems = [self._string(pointer) for pointer in name_pointers.tolist()]
            devices = supers["s_dev"].tolist()
            rows = zip(
                fresh.tolist(),
                which.tolist(),
                *(columns[name].tolist() for name in INODE_FIELDS.split() if name != "i_sb"),
                strict=True,
            )
            for gva, block, mode, number, rdev, size, private, uid, nlink in rows:
                self._inodes[gva] = Inode(
                    mode=mode,
                    number=number,
                    device=_user_device(devices[block]) if block >= 0 else 0,
                    rdev=_user_device(rdev),
                    size_bytes=size,
                    filesystem=filesystems[type_of[block]] if block >= 0 and type_of[block] >= 0 else "",
                    private=private,
                    nlink=nlink,
                    uid=uid,
                )
        return self._inodes

    def _string(self, gva: int) -> str:
        try:
            return self._kernel.memory.string(Gva(gva), 64).decode("ascii", "replace")
        except GuestDataError:
            return ""

    def resolve(self, vfsmount: int, dentry: int) -> Path | None:
        """The path of a loaded pair; None for a null pair or a tree that makes no sense."""
        node = self._dentries.get(dentry)
        if node is None or not vfsmount:
            return None
        mount = vfsmount - self._mnt_offset
        root = self._mounts.get(mount, (0, 0, 0))[2]
        if node.named_by_op and not (node.parent == dentry and root == dentry):
            return self._special(node)
        text = self._join(mount, dentry, 0)
        if text is None:
            return None
        return Path(text or b"/", node.unhashed and node.parent != dentry)

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

    def _special(self, node: _Dentry) -> Path:
        """Names made up by d_op->d_dname: pipes, sockets, anonymous inodes, namespaces, unlinked shared memory."""
        inode = self._inodes.get(node.inode)
        filesystem = inode.filesystem if inode else ""
        number = inode.number if inode else 0
        match filesystem:
            case "pipefs":
                return Path(b"pipe:[%d]" % number, False)
            case "sockfs":
                return Path(b"socket:[%d]" % number, False)
            case "anon_inodefs":
                return Path(b"anon_inode:" + node.name, False)
            case "pidfs":
                return Path(b"anon_inode:[pidfd]", False)
            case "nsfs":
                return Path(b"%s:[%d]" % (self._namespace(inode.private if inode else 0), number), False)
        return Path(b"/" + node.name, True)

    def _namespace(self, ns_common: int) -> bytes:
        """Name of a namespace's kind: mnt, net, pid..."""
        try:
            ops = int(self._kernel.read_one("ns_common", "ops", ns_common)["ops"][0])
            name = int(self._kernel.read_one("proc_ns_operations", "name", ops)["name"][0])
            return self._kernel.memory.string(Gva(name), 16)
        except GuestDataError:
            return b"ns"


def _user_device(device: int) -> int:
    """Kernel dev_t (12 + 20 bits) to the number that stat() gives. Source: include/linux/kdev_t.h."""
    major, minor = device >> 20, device & 0xFFFFF
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)


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
