from __future__ import annotations

import pytest

from tests.unit.linux.small import Small
from vmon.core.coverage import Gaps
from vmon.linux.neighbour import WANTS, find_neighbours
from vmon.linux.net import Net

COMMON = "nud_state:u8 flags:u8 ha:u8*32 dev:p primary_key:u8*0"
SHARED = {
    "neigh_table": "family:s32 nht:p",
    "net_device": "nd_net:p addr_len:u8 name:char*16",
}
OLD = {
    **SHARED,
    "neigh_hash_table": "hash_buckets:p hash_shift:u32",
    "neighbour": f"tbl:p next:p {COMMON}",
}
NEW = {
    **SHARED,
    "hlist_node": "next:p pprev:p",
    "neigh_hash_table": "hash_heads:p hash_shift:u32",
    "neighbour": f"tbl:p hash:hlist_node {COMMON}",
}
MODELS = pytest.mark.parametrize("structs", [OLD, NEW], ids=["pointers", "hlist"])


def made(structs: dict[str, str]) -> tuple[Small, list[Net], int]:
    """Two namespaces with a device each; of the first three neighbours in one chain, of the other one."""
    small = Small(WANTS, structs, {"arp_tbl": 64, "nd_tbl": 64})
    nets = [Net(small.alloc(64), 11), Net(small.alloc(64), 22)]
    devices = [small.new("net_device", nd_net=net.net, addr_len=6, name=b"eth0") for net in nets]
    buckets = small.alloc(8 * 4)
    table = small.new("neigh_hash_table", hash_shift=2, hash_heads=buckets)
    assert small.profile["neigh_hash_table"]["hash_heads"].spelling == (
        "hash_buckets" if structs is OLD else ""
    )
    small.set(small.symbol("arp_tbl"), "neigh_table", nht=table)
    empty = small.new("neigh_hash_table", hash_shift=0, hash_heads=small.alloc(8))
    small.set(small.symbol("nd_tbl"), "neigh_table", nht=empty)
    step = small.profile["neighbour"].offset("hash") if structs is NEW else 0
    link = small.profile["neighbour"].offset("hash")
    at = buckets + 8
    for number, (device, state) in enumerate(((0, 2), (0, 0x20), (1, 0x80), (0, 0x03))):
        one = small.new("neighbour", 16, nud_state=state, flags=0x80, dev=devices[device], ha=bytes(range(6)))
        small.write(small.field(one, "neighbour", "primary_key"), bytes([10, 0, 0, number]))
        small.put(at, one + step)
        at = one + link
    return small, nets, at


@MODELS
def test_neighbours_of_their_namespaces(structs: dict[str, str]) -> None:
    small, nets, _ = made(structs)
    gaps = Gaps()
    found = find_neighbours(small.kernel(), nets[:1], gaps)
    assert [(one.address, one.state, one.mac, one.interface, one.flags) for one in found] == [
        ("10.0.0.0", "reachable", "00:01:02:03:04:05", "eth0", ["router"]),
        ("10.0.0.1", "failed", None, "eth0", ["router"]),
        ("10.0.0.3", "3", "00:01:02:03:04:05", "eth0", ["router"]),
    ]
    assert [one.net_namespace for one in find_neighbours(small.kernel(), nets, gaps)] == [11, 11, 22, 11]
    assert gaps.records() == []


@MODELS
def test_a_chain_that_runs_into_itself(structs: dict[str, str]) -> None:
    small, nets, last = made(structs)
    gaps = Gaps()
    first = small.kernel().memory.u64(
        small.kernel().memory.u64(
            small.field(
                small.kernel().memory.u64(small.field(small.symbol("arp_tbl"), "neigh_table", "nht")),
                "neigh_hash_table",
                "hash_heads",
            )
        )
        + 8
    )
    small.put(last, first)
    assert len(find_neighbours(small.kernel(300), nets, gaps)) == 4
    assert [gap.reason for gap in gaps.records()] == ["unreadable"]


def test_a_kernel_without_ipv6() -> None:
    small, nets, _ = made(NEW)
    small.profile.symbols.pop("nd_tbl")
    gaps = Gaps()
    find_neighbours(small.kernel(), nets, gaps)
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [("inet6 neighbours", "not on this kernel")]
