from __future__ import annotations

from typing import Any

import pytest

from tests.unit.linux.build import Guest
from tests.unit.linux.small import Small
from vmon.core.coverage import Gaps
from vmon.core.records.filesystem import LockRecord
from vmon.linux import dentry, inode
from vmon.linux.lock import MAX_CHAIN, WANTS, read_locks, read_openers
from vmon.linux.snapshot import Snapshot

CORE = (
    "{p}blocker:p {p}link:hlist_node {p}blocked_requests:list_head {p}blocked_member:list_head {p}owner:p "
    "{p}flags:u32 {p}type:u8 {p}pid:s32 {p}file:p"
)
COMMON = {
    "hlist_node": "next:p pprev:p",
    "hlist_head": "first:p",
    "file_lock_list_struct": "lock:u32 hlist:hlist_head",
    "file_system_type": "name:p",
    "super_block": "s_dev:u32 s_type:p",
    "qstr": "hash:u32 len:u32 name:p",
    "inode": "i_mode:u16 i_ino:u64 i_size:u64 i_sb:p i_private:p",
    "dentry": "d_hash:hlist_node d_parent:p d_name:qstr d_inode:p d_op:p d_shortname:char*32",
    "dentry_operations": "d_dname:p",
    "vfsmount": "mnt_root:p mnt_sb:p",
    "mount": "mnt:vfsmount mnt_parent:p mnt_mountpoint:p",
    "path": "mnt:p dentry:p",
    "file": "f_path:path f_inode:p",
}
OLD = {**COMMON, "file_lock": CORE.format(p="fl_") + " fl_start:u64 fl_end:u64"}
NEW = {
    **COMMON,
    "file_lock_core": CORE.format(p="flc_"),
    "file_lock": "c:file_lock_core fl_start:u64 fl_end:u64",
}
MODELS = pytest.mark.parametrize("structs", [OLD, NEW], ids=["one structure", "with a core"])
CPUS = 2
STRIDE = 64
EOF = (1 << 63) - 1
POSIX, FLOCK, LEASE, OFD = 1, 2, 32, 1 + 1024
WILD = 0xFFFF_C900_0000_0000


class Scene:
    """Two CPUs, and a file for each lock that is taken."""

    def __init__(self, structs: dict[str, str]) -> None:
        symbols = {"file_lock_list": CPUS * STRIDE, "__per_cpu_offset": 8 * CPUS, "nr_cpu_ids": 4}
        self.small = small = Small(WANTS | dentry.WANTS | inode.WANTS, structs, symbols)
        small.put(small.symbol("nr_cpu_ids"), CPUS, 4)
        for cpu in range(CPUS):
            small.put(small.symbol("__per_cpu_offset") + 8 * cpu, cpu * STRIDE)
        self.last = [small.symbol("file_lock_list") + cpu * STRIDE + 8 for cpu in range(CPUS)]
        self.root = self.dentry(b"/", 0, 0)
        top = small.new("mount", mnt__mnt_root=self.root)
        small.set(top, "mount", mnt_parent=top)
        self.vfsmount = small.field(top, "mount", "mnt")
        self.files: dict[bytes, int] = {}
        self.requests: dict[int, list[int]] = {}

    def dentry(self, name: bytes, parent: int, node: int) -> int:
        small = self.small
        gva = small.new("dentry", d_name__len=len(name), d_hash__pprev=1, d_shortname=name, d_inode=node)
        short = small.field(gva, "dentry", "d_shortname")
        small.set(gva, "dentry", d_parent=parent or gva, d_name__name=short)
        return gva

    def file(self, name: bytes) -> int:
        small = self.small
        if name not in self.files:
            block = small.new("super_block", s_dev=8 << 20 | 1)
            node = small.new("inode", i_mode=0o100644, i_ino=40 + len(self.files), i_sb=block)
            gva = small.new("file", f_inode=node)
            place = self.dentry(name, self.root, node)
            small.put(small.field(gva, "file", "f_path.mnt"), self.vfsmount)
            small.put(small.field(gva, "file", "f_path.dentry"), place)
            self.files[name] = gva
        return self.files[name]

    def make(
        self, flags: int, kind: int, pid: int, name: bytes | None, start: int = 0, end: int = EOF
    ) -> int:
        small = self.small
        lock = small.new("file_lock", fl_start=start, fl_end=end)
        for field, value in (("flags", flags), ("type", kind), ("pid", pid)):
            self.put(lock, field, value)
        self.put(lock, "file", self.file(name) if name else 0)
        self.requests[lock] = []
        self._link(lock)
        return lock

    def put(self, lock: int, field: str, value: int) -> None:
        layout = self.small.profile["file_lock"][f"c.flc_{field}"]
        self.small.put(lock + layout.offset, value, layout.size)

    def _link(self, lock: int) -> None:
        small = self.small
        members = [small.field(other, "file_lock", "c.flc_blocked_member") for other in self.requests[lock]]
        small.chain(small.field(lock, "file_lock", "c.flc_blocked_requests"), members)

    def take(self, cpu: int, *what: Any) -> int:
        lock = self.make(*what)
        node = self.small.field(lock, "file_lock", "c.flc_link")
        self.small.put(self.last[cpu], node)
        self.last[cpu] = node
        return lock

    def wait(self, blocker: int, *what: Any) -> int:
        lock = self.make(*what)
        self.put(lock, "blocker", blocker)
        self.requests[blocker].append(lock)
        self._link(blocker)
        return lock

    def read(self, openers: dict[int, list[int]] | None = None) -> tuple[list[LockRecord], Gaps]:
        gaps = Gaps()
        return read_locks(self.small.kernel(), {7: b"seven\xff"}, openers or {}, gaps), gaps


@MODELS
def test_locks_of_every_kind_cpu_after_cpu(structs: dict[str, str]) -> None:
    scene = Scene(structs)
    scene.take(1, FLOCK, 0, 8, b"flock", 99, 99)
    first = scene.take(0, POSIX, 1, 7, b"posix", 100, 149)
    scene.take(0, OFD, 0, -1, b"ofd", 5)
    scene.take(1, LEASE, 1, 7, b"lease")
    scene.take(1, LEASE | 512, 1, 7, b"given back")
    scene.take(1, LEASE | 256 | 4, 1, 7, b"made less")
    scene.take(1, POSIX | 8, 0, 7, b"a look")
    scene.take(1, 0, 9, 7, b"odd")
    records, gaps = scene.read({scene.file(b"ofd"): [7, 9]})
    assert [(r.type, r.mode, r.state, r.pid, r.start, r.end) for r in records] == [
        ("POSIX", "WRITE", "held", 7, 100, 149),
        ("OFDLCK", "READ", "held", None, 5, None),
        ("FLOCK", "READ", "held", 8, 0, None),
        ("LEASE", "WRITE", "held", 7, 0, None),
        ("LEASE", "UNLCK", "breaking", 7, 0, None),
        ("DELEG", "READ", "breaking", 7, 0, None),
        ("ACCESS", "READ", "held", 7, 0, None),
        ("flags 0x0", "9", "held", 7, 0, None),
    ]
    assert [record.path for record in records][:3] == ["/posix", "/ofd", "/flock"]
    assert [record.inode for record in records][:3] == [41, 42, 40]
    assert {record.device for record in records} == {0x801}
    assert [record.process for record in records][:3] == ["seven\udcff", None, None]
    assert [record.holders for record in records][:2] == [[], [7, 9]]
    assert records[0].lock_struct == first
    assert gaps.records() == []


@MODELS
def test_who_waits_for_whom(structs: dict[str, str]) -> None:
    scene = Scene(structs)
    held = scene.take(0, POSIX, 1, 1, b"f")
    second = scene.wait(held, POSIX, 1, 2, b"f")
    scene.wait(held, OFD, 0, -1, b"g")
    scene.wait(second, POSIX, 0, 3, b"f")
    records, _ = scene.read({scene.file(b"g"): [9]})
    assert [(r.pid, r.state, r.waits_for, r.waiters) for r in records] == [
        (1, "held", None, [2, 3, 9]),
        (2, "waiting", 1, [3]),
        (3, "waiting", 2, []),
        (None, "waiting", 1, []),
    ]
    assert [record.waits_for_lock for record in records] == [None, held, second, held]


def test_who_waits_for_a_lease_is_shown_with_its_file() -> None:
    scene = Scene(NEW)
    lease = scene.take(0, LEASE | 512, 1, 1, b"leased")
    scene.wait(lease, LEASE, 1, 2, None)
    records, gaps = scene.read({scene.file(b"leased"): [1]})
    assert [(record.path, record.inode, record.holders) for record in records] == [
        ("/leased", 40, [1]),
        ("/leased", 40, []),
    ]
    assert gaps.records() == []


@MODELS
def test_lists_that_loop_or_lead_nowhere_do_not_cost_the_other_cpu(structs: dict[str, str]) -> None:
    scene = Scene(structs)
    scene.take(0, POSIX, 1, 1, b"a")
    scene.small.put(scene.last[0], scene.last[0])
    scene.take(1, POSIX, 1, 2, b"b")
    records, gaps = scene.read()
    assert [record.pid for record in records] == [2]
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [("locks", "unreadable")]
    scene.small.put(scene.last[0], WILD)
    assert [record.pid for record in scene.read()[0]] == [2]


@MODELS
def test_those_who_wait_for_themselves(structs: dict[str, str]) -> None:
    scene = Scene(structs)
    held = scene.take(0, POSIX, 1, 1, b"a")
    waiting = scene.wait(held, POSIX, 1, 2, b"a")
    members = [scene.small.field(held, "file_lock", "c.flc_blocked_member")]
    scene.small.chain(scene.small.field(waiting, "file_lock", "c.flc_blocked_requests"), members)
    records, gaps = scene.read()
    assert [record.pid for record in records] == [1, 2]
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [("locks", "unreadable")]


def test_a_file_that_is_nowhere_is_told() -> None:
    scene = Scene(NEW)
    lock = scene.take(0, POSIX, 1, 1, b"a")
    scene.put(lock, "file", WILD)
    (record,), gaps = scene.read()
    assert (record.path, record.inode) == (None, 0)
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [("path", "unreadable")]


def test_no_lock() -> None:
    assert Scene(OLD).read()[0] == []


def test_a_chain_of_thousands_who_wait_costs_no_thousand_times_thousand() -> None:
    scene = Scene(OLD)
    last = scene.take(0, FLOCK, 1, 1, b"a")
    for pid in range(2, 500):
        last = scene.wait(last, FLOCK, 1, pid, b"a")
    records, _ = scene.read()
    assert len(records) == 499
    assert max(len(record.waiters) for record in records) == MAX_CHAIN


def test_who_has_a_file_open() -> None:
    guest = Guest("new")
    shared, own = guest.file(guest.path(b"a")), guest.file(guest.path(b"b"))
    for pid, files in ((7, {3: shared, 4: shared}), (9, {1: shared, 2: own})):
        guest.process(pid, b"x", files=guest.fdtable(files))
    kernel = guest.kernel()
    snapshot = Snapshot.of_all(kernel)
    assert read_openers(kernel, snapshot.tasks, snapshot.pid) == {shared: [7, 9], own: [9]}
