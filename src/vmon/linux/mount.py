"""A mount namespace holds its mounts in a list, since 6.8 in a tree; a process has its namespace through nsproxy.

Reads mnt_namespace, mount, super_block. A hostile guest can make lists and trees endless or loop them: they are bounded
in number and depth, and a namespace that breaks is told and left out. When the guest mounts meanwhile, a mount can be
missed, or show the place that it is moved to.
Sources: fs/mount.h, fs/namespace.c, fs/pnode.c, fs/proc_namespace.c, include/linux/mount.h.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError
from vmon.core.records.filesystem import MountRecord
from vmon.core.text import guest_text
from vmon.kernel.columns import Column, Columns, unique
from vmon.kernel.profile import Wants
from vmon.linux import rbtree
from vmon.linux.dentry import Paths
from vmon.linux.inode import read_filesystems, user_devices
from vmon.linux.kernel import Kernel, distinct, read_strings
from vmon.linux.rbtree import walk_tree
from vmon.linux.task import walk_list

MAX_MOUNTS = 100_000
"""Of one namespace: what /proc/sys/fs/mount-max starts with."""
MAX_MOUNTS_IN_ALL = 400_000
MAX_NAMESPACES = 20_000
MAX_MASTERS = 32
MAX_SOURCE_BYTES, MAX_SUBTYPE_BYTES = 4096, 64

# mnt_t_flags took over what namespace_sem protects (shared, unbindable) in 6.17.
# mnt_idmap: mnt_userns until 6.2 (256c8aed2b42), which came in 5.12.
MOUNT_FIELDS = (
    "mnt_parent mnt.mnt_root mnt.mnt_sb mnt.mnt_flags mnt_t_flags mnt.mnt_idmap|mnt.mnt_userns mnt_devname mnt_id "
    "mnt_group_id mnt_master mnt_share mnt_ns"
)
# mnt_namespace.list became the tree `mounts` in 6.8 (2eea9ce4310d), its nodes mnt_list, then mnt_node in 6.12.
WANTS = Wants(
    symbols=("mntns_operations", "init_user_ns", "nop_mnt_idmap"),
    structs={
        "nsproxy": "mnt_ns",
        "task_struct": "nsproxy",
        "mnt_namespace": "list mounts ns.ops ns.inum is_anon",
        "mount": "mnt mnt_list mnt_node " + MOUNT_FIELDS,
        "super_block": "s_dev s_flags s_subtype s_user_ns s_type",
        "file_system_type": "name",
        "dentry": "d_inode",
        "inode": "i_private",
        "ns_common": "ops",
    },
)
WANTS = WANTS | rbtree.WANTS
MOUNT_COLUMNS = " ".join(word.split("|")[0] for word in MOUNT_FIELDS.split())
MNT_READONLY, MNT_SHARED, MNT_UNBINDABLE, MNT_CURSOR = 0x40, 0x1000, 0x2000, 0x1000_0000
T_SHARED, T_UNBINDABLE = 1, 2
MOUNT_OPTIONS = {
    0x01: "nosuid",
    0x02: "nodev",
    0x04: "noexec",
    0x08: "noatime",
    0x10: "nodiratime",
    0x20: "relatime",
    0x80: "nosymfollow",
}
SB_RDONLY = 1
SUPER_OPTIONS = {1 << 4: "sync", 1 << 7: "dirsync", 1 << 6: "mand", 1 << 25: "lazytime"}


def find_namespaces(kernel: Kernel, tasks: Column) -> Column:
    """Address of each task's mnt_namespace, in that order; 0 for a task that has left it (zombie)."""
    proxies = kernel.read("task_struct", "nsproxy", tasks)["nsproxy"]
    return kernel.read("nsproxy", "mnt_ns", proxies)["mnt_ns"]


class Mounts:
    """The mounts of many namespaces: those asked for and, if wanted, all that can be reached from them."""

    def __init__(self, kernel: Kernel, gaps: Gaps) -> None:
        self._kernel = kernel
        self._gaps = gaps
        self._found: dict[int, Column] = {}
        """Mounts by the address of their namespace."""
        self.inums: dict[int, int] = {}
        """Inode numbers by the address of the namespace, in the order in which they were found."""

    def load(self, namespaces: Column, *, follow: bool) -> None:
        """Find the mounts of these; `follow` also those of namespaces that no process is in, but a mount knows.

        A mount knows the namespaces of its master and its peers, and the one that it holds (ip netns does so).
        """
        pending, left = self._sane(dict.fromkeys(namespaces.tolist()), known=True), MAX_MOUNTS_IN_ALL
        while pending and len(self._found) < MAX_NAMESPACES:
            new: list[Column] = []
            for gva, inum in pending.items():
                try:
                    mounts = find_mounts(self._kernel, Gva(gva), self._gaps)
                except GuestDataError as error:
                    self._gaps.add("mounts", "unreadable", error.message)
                    mounts = np.zeros(0, dtype=np.uint64)
                if mounts.size > left:
                    self._gaps.add("mounts", "bounded", f"more than {MAX_MOUNTS_IN_ALL:,} in all")
                    return
                left -= mounts.size
                self.inums[gva], self._found[gva] = inum, mounts
                new.append(mounts)
            pending = self._sane(self._neighbours(np.concatenate(new)), known=False) if follow else {}

    def _sane(self, gvas: Iterable[int], *, known: bool) -> dict[int, int]:
        """Which of these are namespaces of mounts with a number, not found before."""
        fresh = np.array([gva for gva in gvas if gva and gva not in self.inums], dtype=np.uint64)
        columns = self._kernel.read("mnt_namespace", "ns.ops ns.inum is_anon", fresh)
        right = columns["ns.ops"] == np.uint64(self._kernel.symbol("mntns_operations"))
        if known and not right.all():
            self._gaps.add("mounts", "torn", "a namespace that is none", int((~right).sum()))
        # What open_tree and fsmount make is nobody's until it is moved to its place.
        if "is_anon" in columns:
            right &= columns["is_anon"] == 0
        right &= columns["ns.inum"] != 0
        return dict(zip(fresh[right].tolist(), columns["ns.inum"][right].tolist(), strict=True))

    def _neighbours(self, mounts: Column) -> list[int]:
        kernel = self._kernel
        columns = kernel.read("mount", "mnt.mnt_root mnt.mnt_sb mnt_master mnt_share", mounts)
        offset = np.uint64(kernel.offset("mount", "mnt_share"))
        next_peers = columns.words("mnt_share", 1)[:, 0] - offset
        others = unique(np.concatenate([columns["mnt_master"], next_peers]))
        found = kernel.read("mount", "mnt_ns", others)["mnt_ns"].tolist()
        types = read_filesystems(kernel, columns["mnt.mnt_sb"])
        held = columns["mnt.mnt_root"][np.array([name == "nsfs" for name in types], dtype=bool)]
        if held.size:
            inodes = kernel.read("dentry", "d_inode", held)["d_inode"]
            common = kernel.read("inode", "i_private", inodes)["i_private"]
            base = np.uint64(kernel.offset("mnt_namespace", "ns.ops") - kernel.offset("ns_common", "ops"))
            found += (common[common != 0] - base).tolist()
        return list(dict.fromkeys(found))

    def records(self) -> list[MountRecord]:
        """Every mount, namespace after namespace."""
        if not self._found:
            return []
        kernel = self._kernel
        mounts = np.concatenate(list(self._found.values()))
        owners = np.repeat(np.array(list(self.inums)), [len(part) for part in self._found.values()]).tolist()
        columns = kernel.read("mount", MOUNT_COLUMNS, mounts)
        roots, blocks = columns["mnt.mnt_root"], columns["mnt.mnt_sb"]
        paths = Paths(kernel)
        vfsmounts = mounts + np.uint64(kernel.offset("mount", "mnt"))
        paths.load(vfsmounts, roots)
        parents = kernel.read("mount", "mnt_id", columns["mnt_parent"]).signed("mnt_id").tolist()
        supers = _Supers(kernel, blocks)
        sources = self._sources(columns["mnt_devname"])
        spread = _Propagation(kernel, owners, columns)
        idmapped = _idmapped(kernel, columns, supers.user_namespace)
        result = []
        rows = zip(mounts.tolist(), vfsmounts.tolist(), roots.tolist(), strict=True)
        ids, flags = columns.signed("mnt_id").tolist(), columns["mnt.mnt_flags"].tolist()
        for row, (mount, vfsmount, root) in enumerate(rows):
            # A reader of /proc/PID/mounts keeps its place by an entry of its own in the list (5.8 to 6.7).
            if flags[row] & MNT_CURSOR:
                continue
            point, inside = paths.resolve(vfsmount, root), paths.within(root)
            if point is None or inside is None:
                self._gaps.add("mount_point" if point is None else "root", "unreadable")
            result.append(
                MountRecord(
                    namespace=self.inums[owners[row]],
                    id=ids[row],
                    parent_id=parents[row],
                    device=supers.device[row],
                    root=guest_text(inside.text) if inside else "?",
                    root_deleted=inside.deleted if inside else False,
                    mount_point=guest_text(point.text) if point else None,
                    options=_options(flags[row], idmapped[row]),
                    propagation=spread.of(row),
                    filesystem=supers.type[row],
                    source=sources[row],
                    super_options=supers.options[row],
                    mount_struct=mount,
                )
            )
        return result

    def _sources(self, pointers: Column) -> list[str | None]:
        texts = read_strings(self._kernel, pointers, MAX_SOURCE_BYTES)
        missing = sum(text is None for text in texts)
        if missing:
            self._gaps.add("source", "unreadable", count=missing)
        return [guest_text(text) if text is not None else None for text in texts]


def find_mounts(kernel: Kernel, namespace: Gva, gaps: Gaps) -> Column:
    """Addresses of the struct mounts of one namespace, in the order of mountinfo. BadStructure where they loop."""
    layout = kernel.profile["mnt_namespace"]
    if "list" in layout:
        nodes = walk_list(kernel, Gva(namespace + layout.offset("list")), "mnt_namespace.list", MAX_MOUNTS)
        return np.array(nodes, dtype=np.uint64) - np.uint64(kernel.offset("mount", "mnt_list"))
    tree = Gva(namespace + layout.offset("mounts"))
    node = "mnt_node" if kernel.profile.has("mount", "mnt_node") else "mnt_list"
    # Sorted by the unique id, as mountinfo is.
    found = walk_tree(kernel, tree, "mnt_namespace.mounts", gaps, MAX_MOUNTS)
    return np.array(found, dtype=np.uint64) - np.uint64(kernel.offset("mount", node))


class _Supers:
    """What mounts show of their super_blocks: a list a field, an element a mount."""

    def __init__(self, kernel: Kernel, blocks: Column) -> None:
        places, which = distinct(blocks)
        columns = kernel.read("super_block", "s_dev s_flags s_subtype s_user_ns", places)
        subtypes = read_strings(kernel, columns["s_subtype"], MAX_SUBTYPE_BYTES)
        types = [
            f"{name}.{guest_text(subtype)}" if subtype else name
            for name, subtype in zip(read_filesystems(kernel, places), subtypes, strict=True)
        ]
        options = [_super_options(flags) for flags in columns["s_flags"].tolist()]
        devices = user_devices(columns["s_dev"]).tolist()
        rows = which.tolist()
        self.type = [types[at] if at >= 0 else "" for at in rows]
        self.options: list[list[str]] = [options[at] if at >= 0 else [] for at in rows]
        self.device: list[int] = [devices[at] if at >= 0 else 0 for at in rows]
        self.user_namespace: Column = np.append(columns["s_user_ns"], np.uint64(0))[which]


class _Propagation:
    """Peer groups: whom a mount tells of what is mounted below it, and who tells it."""

    def __init__(self, kernel: Kernel, owners: list[int], columns: Columns) -> None:
        flags = columns["mnt.mnt_flags"]
        if "mnt_t_flags" in columns:
            shared, unbindable = (
                (columns["mnt_t_flags"] & np.uint64(bit)) != 0 for bit in (T_SHARED, T_UNBINDABLE)
            )
        else:
            shared, unbindable = ((flags & np.uint64(bit)) != 0 for bit in (MNT_SHARED, MNT_UNBINDABLE))
        self._shared, self._unbindable = shared.tolist(), unbindable.tolist()
        self._groups = columns.signed("mnt_group_id").tolist()
        self._masters = columns["mnt_master"].tolist()
        self._owners = owners
        self._here = set(zip(owners, self._groups, strict=True))
        self._above = self._read_masters(kernel, columns["mnt_master"])

    @staticmethod
    def _read_masters(kernel: Kernel, masters: Column) -> dict[int, tuple[int, int]]:
        """Group and master of each master, up to the topmost."""
        found: dict[int, tuple[int, int]] = {}
        pending = unique(masters)
        for _ in range(MAX_MASTERS):
            pending = np.array([gva for gva in pending.tolist() if gva and gva not in found], dtype=np.uint64)
            if not pending.size:
                break
            read = kernel.read("mount", "mnt_group_id mnt_master", pending)
            pairs = zip(read.signed("mnt_group_id").tolist(), read["mnt_master"].tolist(), strict=True)
            found.update(zip(pending.tolist(), pairs, strict=True))
            pending = unique(read["mnt_master"])
        return found

    def of(self, row: int) -> list[str]:
        """As mountinfo spells it."""
        said = [f"shared:{self._groups[row]}"] if self._shared[row] else []
        master = self._masters[row]
        if master:
            group, above = self._above.get(master, (0, 0))
            said.append(f"master:{group}")
            nearest = self._nearest_here(self._owners[row], group, above)
            if nearest not in (0, group):
                said.append(f"propagate_from:{nearest}")
        return [*said, "unbindable"] if self._unbindable[row] else said

    def _nearest_here(self, owner: int, group: int, above: int) -> int:
        """The nearest group upwards that has a member in the same namespace; 0 for none."""
        for _ in range(MAX_MASTERS):
            if (owner, group) in self._here:
                return group
            if not above:
                break
            group, above = self._above.get(above, (0, 0))
        return 0


def _options(flags: int, idmapped: bool) -> list[str]:
    options = ["ro" if flags & MNT_READONLY else "rw"]
    options += [name for bit, name in MOUNT_OPTIONS.items() if flags & bit]
    return [*options, "idmapped"] if idmapped else options


def _super_options(flags: int) -> list[str]:
    return [
        "ro" if flags & SB_RDONLY else "rw",
        *(name for bit, name in SUPER_OPTIONS.items() if flags & bit),
    ]


def _idmapped(kernel: Kernel, columns: Columns, user_namespaces: Column) -> list[bool]:
    """Whether ids are mapped on the way: another map than none, or than the file system's own before 6.2."""
    if "mnt.mnt_idmap" not in columns:
        return [False] * columns.count
    if kernel.has_symbol("nop_mnt_idmap"):
        plain = columns["mnt.mnt_idmap"] == np.uint64(kernel.symbol("nop_mnt_idmap"))
    else:
        spaces = columns["mnt.mnt_idmap"]
        plain = (spaces == user_namespaces) | (spaces == np.uint64(kernel.symbol("init_user_ns")))
    found: list[bool] = (~plain).tolist()
    return found
