from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.unit.linux.small import IMAGE_GVA, Small
from vmon.core.coverage import Gaps
from vmon.linux import dentry, inode
from vmon.linux.mount import WANTS, Mounts, find_namespaces

COMMON = {
    "hlist_node": "next:p pprev:p",
    "rb_node": "__rb_parent_color:u64 rb_right:p rb_left:p",
    "rb_root": "rb_node:p",
    "proc_ns_operations": "name:p",
    "ns_common": "ops:p inum:u32",
    "file_system_type": "name:p",
    "super_block": "s_dev:u32 s_flags:u64 s_subtype:p s_user_ns:p s_type:p",
    "qstr": "hash:u32 len:u32 name:p",
    "inode": "i_mode:u16 i_ino:u64 i_size:u64 i_sb:p i_private:p",
    "dentry": "d_hash:hlist_node d_parent:p d_name:qstr d_inode:p d_op:p d_shortname:char*32",
    "dentry_operations": "d_dname:p",
    "nsproxy": "mnt_ns:p",
    "task_struct": "nsproxy:p",
}
MOUNT = (
    "mnt_share:list_head mnt_master:p mnt_parent:p mnt_mountpoint:p mnt_devname:p mnt_ns:p mnt_id:s32 "
    "mnt_group_id:s32"
)
OLD = {
    **COMMON,
    "vfsmount": "mnt_root:p mnt_sb:p mnt_flags:u32",
    "mount": f"mnt:vfsmount mnt_list:list_head {MOUNT}",
    "mnt_namespace": "ns:ns_common list:list_head mounts:u32",
}
NEW = {
    **COMMON,
    "vfsmount": "mnt_root:p mnt_sb:p mnt_flags:u32 mnt_idmap:p",
    "mount": f"mnt:vfsmount mnt_node:rb_node mnt_t_flags:u32 {MOUNT}",
    "mnt_namespace": "ns:ns_common mounts:rb_root is_anon:u8",
}
SYMBOLS = {"mntns_operations": 64, "init_user_ns": 64}
WILD = 0xFFFF_C900_0000_0000
MODELS = pytest.mark.parametrize("structs", [OLD, NEW], ids=["a list", "a tree"])


class Scene:
    """A namespace with mounts of one file system: / and, on it, what is added."""

    def __init__(self, structs: dict[str, str]) -> None:
        maps = "mnt_idmap" in structs["vfsmount"]
        symbols = {**SYMBOLS, "nop_mnt_idmap": 64} if maps else SYMBOLS
        self.small = small = Small(WANTS | dentry.WANTS | inode.WANTS, structs, symbols)
        self.tree = "rb_root" in structs["mnt_namespace"]
        kind = small.new("file_system_type", name=small.string(b"fuse"))
        self.block = small.new(
            "super_block", s_dev=8 << 20 | 1, s_type=kind, s_subtype=small.string(b"sub"), s_flags=1 | 1 << 25
        )
        self.root = self.dentry(b"/", 0)
        self.namespace = small.new("mnt_namespace", ns__ops=small.symbol("mntns_operations"), ns__inum=42)
        self.mounts: list[int] = []
        self.top = self.mount(0, 0, self.root, mnt_id=1)

    def dentry(self, name: bytes, parent: int) -> int:
        small = self.small
        gva = small.new("dentry", d_name__len=len(name), d_hash__pprev=1, d_shortname=name)
        short = small.field(gva, "dentry", "d_shortname")
        small.set(gva, "dentry", d_parent=parent or gva, d_name__name=short)
        return gva

    def mount(self, parent: int, point: int, root: int, **values: Any) -> int:
        small = self.small
        gva = small.new("mount", mnt_mountpoint=point, mnt__mnt_root=root, mnt__mnt_sb=self.block)
        small.set(
            gva, "mount", mnt_parent=parent or gva, mnt_devname=small.string(b"none"), mnt_ns=self.namespace
        )
        small.chain(small.field(gva, "mount", "mnt_share"), [])
        if self.tree:
            small.set(gva, "mount", mnt__mnt_idmap=small.symbol("nop_mnt_idmap"))
        small.set(gva, "mount", **values)
        self.mounts.append(gva)
        self.link()
        return gva

    def link(self) -> None:
        """A list, or a tree that has degenerated to one, last mount topmost."""
        small = self.small
        if not self.tree:
            nodes = [small.field(mount, "mount", "mnt_list") for mount in self.mounts]
            small.chain(small.field(self.namespace, "mnt_namespace", "list"), nodes)
            return
        nodes = [small.field(mount, "mount", "mnt_node") for mount in self.mounts]
        for number, node in enumerate(nodes):
            small.set(node, "rb_node", rb_left=nodes[number - 1] if number else 0)
        small.put(small.field(self.namespace, "mnt_namespace", "mounts"), nodes[-1])

    def read(self, *namespaces: int, follow: bool = True) -> tuple[Mounts, Gaps]:
        gaps = Gaps()
        found = Mounts(self.small.kernel(), gaps)
        found.load(np.array(namespaces or [self.namespace], dtype=np.uint64), follow=follow)
        return found, gaps


def flagged(scene: Scene, shared: bool, unbindable: bool) -> dict[str, int]:
    if scene.tree:
        return {"mnt_t_flags": shared | unbindable << 1}
    return {"mnt__mnt_flags": shared << 12 | unbindable << 13}


@MODELS
def test_mounts_as_mountinfo_has_them(structs: dict[str, str]) -> None:
    scene = Scene(structs)
    folder = scene.dentry(b"data", scene.root)
    source = scene.small.string(b"x" * 100)
    scene.mount(scene.top, folder, folder, mnt_id=7, mnt__mnt_flags=0xFF, mnt_devname=source)
    found, gaps = scene.read()
    top, other = found.records()
    assert (top.id, top.parent_id, top.mount_point, top.root) == (1, 1, "/", "/")
    assert (other.id, other.parent_id, other.mount_point, other.root) == (7, 1, "/data", "/data")
    assert top.options == ["rw"]
    assert other.options == [
        "ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime", "nosymfollow",
    ]  # fmt: skip
    assert {record.filesystem for record in (top, other)} == {"fuse.sub"}
    assert {record.device for record in (top, other)} == {0x801}
    assert top.super_options == ["ro", "lazytime"]
    assert (top.source, other.source) == ("none", "x" * 100)
    assert {record.namespace for record in (top, other)} == {42}
    assert [record.mount_struct for record in (top, other)] == scene.mounts
    assert gaps.records() == []


@MODELS
def test_peer_groups(structs: dict[str, str]) -> None:
    scene = Scene(structs)
    folder = scene.dentry(b"a", scene.root)
    first = scene.mount(scene.top, folder, folder, mnt_group_id=1, **flagged(scene, True, False))
    # Its slave is in no list here: another namespace has it.
    middle = scene.small.new("mount", mnt_group_id=2, mnt_master=first)
    scene.mount(scene.top, folder, folder, mnt_master=middle, **flagged(scene, False, True))
    scene.mount(scene.top, folder, folder, mnt_group_id=3, mnt_master=first, **flagged(scene, True, False))
    assert [record.propagation for record in scene.read()[0].records()] == [
        [],
        ["shared:1"],
        ["master:2", "propagate_from:1", "unbindable"],
        ["shared:3", "master:1"],
    ]


def test_masters_in_a_circle() -> None:
    scene = Scene(NEW)
    folder = scene.dentry(b"a", scene.root)
    one, other = (scene.small.new("mount", mnt_group_id=group) for group in (8, 9))
    scene.small.set(one, "mount", mnt_master=other)
    scene.small.set(other, "mount", mnt_master=one)
    scene.mount(scene.top, folder, folder, mnt_master=one)
    assert scene.read()[0].records()[1].propagation == ["master:8"]


def test_mapped_ids() -> None:
    scene = Scene(NEW)
    scene.mount(scene.top, scene.root, scene.root, mnt__mnt_idmap=scene.small.alloc(64))
    assert [record.options for record in scene.read()[0].records()] == [["rw"], ["rw", "idmapped"]]


def test_mapped_ids_by_user_namespace() -> None:
    scene = Scene({**OLD, "vfsmount": "mnt_root:p mnt_sb:p mnt_flags:u32 mnt_userns:p"})
    small = scene.small
    own = small.alloc(64)
    small.set(scene.block, "super_block", s_user_ns=own)
    small.set(scene.top, "mount", mnt__mnt_idmap=small.symbol("init_user_ns"))
    for space in (own, small.alloc(64)):
        scene.mount(scene.top, scene.root, scene.root, mnt__mnt_idmap=space)
    found = [record.options for record in scene.read()[0].records()]
    assert found == [["rw"], ["rw"], ["rw", "idmapped"]]


@MODELS
def test_namespaces_that_only_mounts_know(structs: dict[str, str]) -> None:
    scene = Scene(structs)
    small = scene.small
    operations = small.symbol("mntns_operations")
    first = scene.namespace
    numbers = {50: "peer", 51: "master", 52: "held", 0: "nameless"}
    spaces = {}
    for number in numbers:
        scene.namespace = small.new("mnt_namespace", ns__ops=operations, ns__inum=number)
        spaces[number], scene.mounts = scene.namespace, []
        scene.mount(0, 0, scene.root, mnt_id=number)
    other_mounts = {number: small.new("mount", mnt_ns=space) for number, space in spaces.items()}
    nsfs = small.new("file_system_type", name=small.string(b"nsfs"))
    block = small.new("super_block", s_type=nsfs)
    inner = small.new("inode", i_private=small.field(spaces[52], "mnt_namespace", "ns.ops"), i_sb=block)
    scene.namespace, scene.mounts = first, [scene.top]
    peer = small.field(other_mounts[50], "mount", "mnt_share")
    small.chain(small.field(scene.top, "mount", "mnt_share"), [peer])
    scene.mount(scene.top, scene.root, scene.root, mnt_master=other_mounts[51])
    scene.mount(scene.top, scene.root, scene.root, mnt_master=other_mounts[0])
    held = scene.dentry(b"", 0)
    small.set(held, "dentry", d_inode=inner)
    scene.mount(scene.top, scene.root, held, mnt__mnt_sb=block)
    found, gaps = scene.read()
    assert set(found.inums.values()) == {42, 50, 51, 52}
    assert {record.namespace for record in found.records()} == {42, 50, 51, 52}
    assert gaps.records() == []
    assert list(scene.read(follow=False)[0].inums.values()) == [42]


def test_a_namespace_of_a_process_that_is_none_is_told() -> None:
    scene = Scene(NEW)
    found, gaps = scene.read(0, WILD, IMAGE_GVA, scene.namespace)
    assert list(found.inums.values()) == [42]
    assert [(gap.what, gap.reason, gap.count) for gap in gaps.records()] == [("mounts", "torn", 2)]


@MODELS
def test_mounts_that_run_into_themselves_do_not_cost_the_other_namespaces(structs: dict[str, str]) -> None:
    scene = Scene(structs)
    small = scene.small
    good, scene.mounts = scene.namespace, []
    scene.namespace = small.new("mnt_namespace", ns__ops=small.symbol("mntns_operations"), ns__inum=43)
    bad = [scene.mount(0, 0, scene.root) for _ in range(3)]
    if scene.tree:
        nodes = [small.field(mount, "mount", "mnt_node") for mount in bad]
        small.set(nodes[0], "rb_node", rb_left=nodes[2])
    else:
        small.put(small.field(bad[2], "mount", "mnt_list"), small.field(bad[1], "mount", "mnt_list"))
    found, gaps = scene.read(scene.namespace, good)
    assert {record.namespace for record in found.records()} == {42}
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [("mounts", "unreadable")]


def test_what_a_reader_of_mountinfo_puts_into_the_list_is_no_mount() -> None:
    scene = Scene(OLD)
    scene.mount(0, 0, 0, mnt__mnt_flags=0x1000_0000)
    assert [record.id for record in scene.read()[0].records()] == [1]


@MODELS
def test_what_cannot_be_read_is_told_and_the_rest_is_there(structs: dict[str, str]) -> None:
    scene = Scene(structs)
    scene.mount(WILD, WILD, WILD, mnt_devname=WILD, mnt__mnt_sb=WILD, mnt_id=9, mnt_master=WILD)
    found, gaps = scene.read()
    assert [record.id for record in found.records()] == [1, 9]
    record = found.records()[1]
    assert (record.mount_point, record.source, record.filesystem) == (None, None, "")
    assert {(gap.what, gap.reason) for gap in gaps.records()} == {
        ("mount_point", "unreadable"),
        ("source", "unreadable"),
    }


def test_a_zombie_has_no_namespace() -> None:
    scene = Scene(NEW)
    proxy = scene.small.new("nsproxy", mnt_ns=scene.namespace)
    tasks = [scene.small.new("task_struct", nsproxy=proxy), scene.small.new("task_struct")]
    assert find_namespaces(scene.small.kernel(), np.array(tasks, dtype=np.uint64)).tolist() == [
        scene.namespace,
        0,
    ]
