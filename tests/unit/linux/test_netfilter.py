from __future__ import annotations

import pytest

from tests.unit.linux.small import Small
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure
from vmon.linux.netfilter import MAX_ENTRIES, WANTS, find_hooks

STRUCTS = {
    "ns_common": "stashed:p ops:p inum:u32",
    "netns_nf": "proc:p hooks_ipv4:p*5 hooks_ipv6:p*5 hooks_arp:p*3 hooks_bridge:p*5",
    "net": "list:list_head ns:ns_common nf:netns_nf",
    "nf_hook_entry": "hook:p priv:p",
    "nf_hook_entries": "num_hook_entries:u16 hooks:nf_hook_entry*0",
}


def made() -> tuple[Small, int, int]:
    small = Small(WANTS, STRUCTS, {"net_namespace_list": 16})
    net = small.new("net", ns__inum=4026531840)
    small.chain(small.symbol("net_namespace_list"), [net])
    entries = small.new("nf_hook_entries", extra=64, num_hook_entries=2)
    for number in range(2):
        small.put(small.field(entries, "nf_hook_entries", "hooks") + 16 * number, 0x1000 + number)
    # ipv4, third place: forward.
    small.put(small.field(net, "net", "nf.hooks_ipv4") + 16, entries)
    return small, net, entries


def test_each_hook_with_its_place() -> None:
    small, _, entries = made()
    gaps = Gaps()
    found = list(find_hooks(small.kernel(), gaps))
    assert [(where, function) for where, _, function in found] == [
        ("ipv4 forward of namespace 4026531840", 0x1000),
        ("ipv4 forward of namespace 4026531840", 0x1001),
    ]
    assert found[0][1] == entries + 8
    assert gaps.records() == []


def test_numbers_that_lie_are_bounded_and_loops_end() -> None:
    small, net, entries = made()
    small.set(entries, "nf_hook_entries", num_hook_entries=0xFFFF)
    assert len(list(find_hooks(small.kernel(), Gaps()))) == MAX_ENTRIES
    second = small.new("net")
    small.put(small.symbol("net_namespace_list"), net)
    small.put(net, second)
    small.put(second, net)
    with pytest.raises(BadStructure, match="runs into itself"):
        list(find_hooks(small.kernel(), Gaps()))
