from __future__ import annotations

import pytest

from tests.unit.linux.small import IMAGE_GVA, Small
from tests.unit.linux.test_where import where
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure
from vmon.linux.kprobe import WANTS, find_kprobes
from vmon.linux.where import Where

STRUCTS = {
    "hlist_node": "next:p pprev:p",
    "kprobe": "hlist:hlist_node list:list_head nmissed:u64 addr:p pre_handler:p post_handler:p flags:u32",
    "kretprobe": "kp:kprobe handler:p entry_handler:p",
}
WILD = 0xFFFF_C900_0000_0000
FUNCTION, HANDLER = IMAGE_GVA + 0x8000, IMAGE_GVA + 0x9000


def made() -> Small:
    return Small(WANTS, STRUCTS, {"kprobe_table": 512, "aggr_pre_handler": 16, "pre_handler_kretprobe": 16})


def hang(small: Small, place: int, *probes: int) -> None:
    at = small.symbol("kprobe_table") + 8 * place
    for probe in probes:
        small.put(at, probe)
        at = probe


def names(small: Small, gaps: Gaps) -> Where:
    return where(small, gaps, vfs_open=FUNCTION, called=HANDLER)


def test_kprobes_alone_and_several_at_one_place() -> None:
    small, gaps = made(), Gaps()
    alone = small.new("kprobe", addr=FUNCTION + 4, pre_handler=HANDLER, nmissed=3, flags=2)
    both = small.new("kprobe", addr=FUNCTION, pre_handler=small.symbol("aggr_pre_handler"), flags=8)
    first = small.new("kprobe", addr=FUNCTION, post_handler=HANDLER + 1)
    second = small.new("kretprobe", handler=HANDLER)
    small.set(second, "kprobe", addr=FUNCTION, pre_handler=small.symbol("pre_handler_kretprobe"))
    lists = [small.field(probe, "kprobe", "list") for probe in (both, first, second)]
    small.chain(lists[0], lists[1:])
    hang(small, 3, alone, both)
    records = find_kprobes(small.kernel(), names(small, gaps), gaps)
    assert [(r.kind, r.address, r.function, r.offset, r.handlers, r.state, r.missed) for r in records] == [
        ("kprobe", FUNCTION, "vfs_open", 0, ["called+0x1"], ["ftrace"], 0),
        ("kretprobe", FUNCTION, "vfs_open", 0, ["called"], ["ftrace"], 0),
        ("kprobe", FUNCTION + 4, "vfs_open", 4, ["called"], ["disabled"], 3),
    ]
    assert gaps.records() == []


def test_a_table_that_lies() -> None:
    small, gaps = made(), Gaps()
    both = small.new("kprobe", addr=WILD, pre_handler=small.symbol("aggr_pre_handler"))
    small.put(small.field(both, "kprobe", "list"), WILD)
    hang(small, 0, both)
    hang(small, 1, small.new("kprobe", addr=WILD, pre_handler=WILD))
    records = find_kprobes(small.kernel(), names(small, gaps), gaps)
    assert [(r.function, r.handlers) for r in records] == [(None, [f"{WILD:#x}"])]
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [
        ("kprobes", "unreadable"),
        # This kernel has no modules to look for the address in.
        ("names", "unreadable"),
    ]
    small.put(both, both)
    with pytest.raises(BadStructure, match="runs into itself"):
        find_kprobes(small.kernel(), names(small, gaps), gaps)


def test_a_kernel_without_kprobes() -> None:
    small, gaps = Small(WANTS, {}, {}), Gaps()
    assert find_kprobes(small.kernel(), Where(small.kernel(), gaps), gaps) == []
    assert [gap.reason for gap in gaps.records()] == ["not on this kernel"]
