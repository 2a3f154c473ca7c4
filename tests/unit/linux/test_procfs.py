from __future__ import annotations

from tests.unit.linux.small import Small
from vmon.core.coverage import Gaps
from vmon.linux.procfs import WANTS, find_entries

STRUCTS = {
    "ns_common": "stashed:p ops:p inum:u32",
    "net": "list:list_head ns:ns_common proc_net:p",
    "rb_root": "rb_node:p",
    "rb_node": "parent:u64 rb_right:p rb_left:p",
    "proc_dir_entry": "proc_iops:p proc_ops:p seq_ops:p name:p mode:u16 subdir:rb_root subdir_node:rb_node",
}


def entry(small: Small, name: bytes, *below: int, seq_ops: int = 0) -> int:
    gva = small.new("proc_dir_entry", name=small.string(name), seq_ops=seq_ops)
    put_below(small, gva, below)
    return gva


def put_below(small: Small, gva: int, below: tuple[int, ...]) -> None:
    """A tree that leans to the right."""
    place = small.field(gva, "proc_dir_entry", "subdir")
    for child in below:
        node = small.field(child, "proc_dir_entry", "subdir_node")
        small.put(place, node)
        place = small.field(node, "rb_node", "rb_right")


def made() -> tuple[Small, dict[str, int]]:
    small = Small(WANTS, STRUCTS, {"proc_root": 256, "net_namespace_list": 16})
    entries = {"modules": entry(small, b"modules", seq_ops=0x1234), "kmsg": entry(small, b"kmsg")}
    entries["bus"] = entry(small, b"bus", entries["kmsg"])
    put_below(small, small.symbol("proc_root"), (entries["bus"], entries["modules"]))
    net = small.new("net", ns__inum=7, proc_net=entry(small, b"net", entry(small, b"tcp")))
    small.chain(small.symbol("net_namespace_list"), [net])
    return small, entries


def test_every_entry_by_its_path() -> None:
    small, entries = made()
    gaps = Gaps()
    found = {path: (gva, pointers) for path, gva, pointers in find_entries(small.kernel(), gaps)}
    assert list(found) == [
        "/proc",
        "/proc/bus",
        "/proc/bus/kmsg",
        "/proc/modules",
        "/proc/net of namespace 7",
        "/proc/net of namespace 7/tcp",
    ]
    assert found["/proc/modules"] == (entries["modules"], {"proc_iops": 0, "proc_ops": 0, "seq_ops": 0x1234})
    assert gaps.records() == []


def test_an_entry_below_itself_is_met_once_and_a_tree_that_loops_is_told() -> None:
    small, entries = made()
    put_below(small, entries["kmsg"], (entries["bus"],))
    assert len(list(find_entries(small.kernel(calls_limit=500), Gaps()))) == 6
    node = small.field(entries["modules"], "proc_dir_entry", "subdir_node")
    small.put(small.field(node, "rb_node", "rb_left"), node)
    gaps = Gaps()
    assert [path for path, *_ in find_entries(small.kernel(calls_limit=500), gaps)][:1] == ["/proc"]
    assert [gap.reason for gap in gaps.records()] == ["unreadable"]
