from __future__ import annotations

import pytest

from tests.unit.linux.small import IMAGE_GVA, Small
from vmon.core.coverage import Gaps
from vmon.linux.patching import WANTS, find_patchable

STRUCTS = {
    "jump_entry": "code:s32 target:s32 key:u64",
    "static_call_site": "addr:s32 key:s32",
    "ftrace_page": "next:p records:p index:s32 order:s32",
    "dyn_ftrace": "ip:u64 flags:u64",
    "hlist_node": "next:p pprev:p",
    "kprobe": "hlist:hlist_node list:list_head addr:p",
}
SYMBOLS = {
    "_text": 0x1000,
    "__start___jump_table": 32,
    "__stop___jump_table": 0,
    "__start_static_call_sites": 8,
    "__stop_static_call_sites": 0,
    "ftrace_pages_start": 8,
    "kprobe_table": 512,
    "ftrace_call": 16,
}


def made() -> Small:
    small = Small(WANTS, STRUCTS, SYMBOLS)
    # The end of a table is the start of what follows: both lie at the same address only when it is a multiple of 64.
    small.profile.symbols["__stop___jump_table"] = small.profile.symbols["__start___jump_table"] + 32
    small.profile.symbols["__stop_static_call_sites"] = small.profile.symbols["__start_static_call_sites"] + 8
    for number, (code, target) in enumerate(((0x10, 0x30), (0x20, 0x40))):
        at = small.symbol("__start___jump_table") + 16 * number
        small.put(at, IMAGE_GVA + code - at, 4)
        small.put(at + 4, IMAGE_GVA + target - (at + 4), 4)
    at = small.symbol("__start_static_call_sites")
    small.put(at, IMAGE_GVA + 0x50 - at, 4)
    records = [
        small.data(b"".join((IMAGE_GVA + ip).to_bytes(8, "little") + bytes(8) for ip in ips))
        for ips in ((0x60, 0x70), (0x80,))
    ]
    last = small.new("ftrace_page", records=records[1], index=1)
    small.put(
        small.symbol("ftrace_pages_start"), small.new("ftrace_page", next=last, records=records[0], index=2)
    )
    probes = [small.new("kprobe", addr=IMAGE_GVA + 0x90 + number) for number in range(2)]
    small.put(small.symbol("kprobe_table") + 8 * 5, probes[0])
    small.put(probes[0], probes[1])
    return small


def test_every_place_of_every_list() -> None:
    small, gaps = made(), Gaps()
    found = find_patchable(small.kernel(), gaps)
    assert [gva - IMAGE_GVA for gva in found.jumps.tolist()] == [0x10, 0x20]
    assert [gva - IMAGE_GVA for gva in found.jump_targets.tolist()] == [0x30, 0x40]
    assert [gva - IMAGE_GVA for gva in found.calls.tolist()] == [0x50]
    assert [gva - IMAGE_GVA for gva in found.traced.tolist()] == [0x60, 0x70, 0x80]
    assert [gva - IMAGE_GVA for gva in found.probed.tolist()] == [0x90, 0x91]
    assert found.tracer.tolist() == [small.symbol("ftrace_call")]
    assert gaps.records() == []


@pytest.mark.parametrize("what", ["places of ftrace", "places of kprobes", "places of static keys and calls"])
def test_a_list_that_lies_is_told_and_the_others_are_there(what: str) -> None:
    small = made()
    if what == "places of ftrace":
        page = small.new("ftrace_page")
        small.set(page, "ftrace_page", next=page)
        small.put(small.symbol("ftrace_pages_start"), page)
    elif what == "places of kprobes":
        probe = small.new("kprobe")
        small.put(probe, probe)
        small.put(small.symbol("kprobe_table"), probe)
    else:
        small.profile.symbols["__stop___jump_table"] = small.profile.symbols["__start___jump_table"] - 64
    gaps = Gaps()
    found = find_patchable(small.kernel(calls_limit=20_000), gaps)
    assert [gap.what for gap in gaps.records()] == [what]
    left = {name: getattr(found, name).size for name in ("jumps", "calls", "traced", "probed")}
    assert sorted(left.values())[-1] > 0
