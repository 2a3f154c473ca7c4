from __future__ import annotations

from tests.unit.linux.sockets import STRUCTS, SYMBOLS, Sockets
from vmon.core.coverage import Gaps
from vmon.linux.net import find_nets
from vmon.linux.netlink import find_netlink_socks, find_packet_socks


def netlink(small: Sockets, protocol: int, bucket: int, *socks: int) -> None:
    """Put netlink socks into a bucket of their protocol's table."""
    table = small.kernel().memory.u64(small.links + protocol * small.profile["netlink_table"].size)
    at = table + small.profile["bucket_table"].size + 8 * bucket
    for sk in socks:
        node = small.field(sk, "netlink_sock", "node")
        small.put(at, node)
        at = node
    small.put(at, 1)


def test_netlink_sockets_of_all_protocols() -> None:
    small, gaps = Sockets(), Gaps()
    one, two, audit = (small.sock(16, "netlink_sock", portid=port) for port in (0, 42, 43))
    netlink(small, 0, 1, one, two)
    netlink(small, 31, 0, audit)
    assert sorted(find_netlink_socks(small.kernel(), gaps).tolist()) == [one, two, audit]
    assert gaps.records() == []


def test_what_is_no_netlink_socket_and_no_table() -> None:
    small, gaps = Sockets(), Gaps()
    netlink(small, 5, 0, small.sock(2, "netlink_sock"))
    assert find_netlink_socks(small.kernel(), gaps).tolist() == []
    small.put(small.symbol("nl_table"), 0x1000)
    assert find_netlink_socks(small.kernel(), gaps).tolist() == []
    small.profile.symbols.pop("nl_table")
    assert find_netlink_socks(small.kernel(), gaps).tolist() == []
    assert gaps.records()[0].reason == "torn"
    assert ("netlink", "not on this kernel") in [(gap.what, gap.reason) for gap in gaps.records()]


def test_packet_sockets() -> None:
    small, gaps = Sockets(), Gaps()
    one, two, there = (small.sock(17, "packet_sock", net=net) for net in (0, 0, small.other))
    small.put_chain(small.field(small.first, "net", "packet.sklist"), [one, two])
    small.put_chain(small.field(small.other, "net", "packet.sklist"), [there])
    kernel = small.kernel()
    nets = find_nets(kernel, gaps)
    assert sorted(find_packet_socks(kernel, nets, gaps).tolist()) == sorted([one, two, there])
    assert find_packet_socks(kernel, nets[1:], gaps).tolist() == [there]
    assert gaps.records() == []


def test_a_kernel_without_packet_sockets() -> None:
    small, gaps = Sockets({**STRUCTS, "netns_packet": "other:p"}, SYMBOLS), Gaps()
    kernel = small.kernel()
    assert find_packet_socks(kernel, find_nets(kernel, gaps), gaps).tolist() == []
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [("packet", "not on this kernel")]
