from __future__ import annotations

import ipaddress

import numpy as np

from tests.unit.linux.interfaces import Interfaces
from vmon.core.coverage import Gaps
from vmon.core.records.network import AddressRecord
from vmon.linux.ifaddr import address_flags, read_addresses


def packed(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def v4(made: Interfaces, device: int, local: str, **values: int | bytes) -> int:
    one = made.new("in_ifaddr", ifa_dev=device, ifa_local=packed(local), ifa_address=packed(local))
    made.set(one, "in_ifaddr", **values)
    return one


def found(made: Interfaces, four: list[int], six: list[int], gaps: Gaps) -> list[list[AddressRecord]]:
    columns = (np.array(one, dtype=np.uint64) for one in (four, six))
    return read_addresses(made.kernel(), *columns, gaps)


def test_addresses_of_both_families() -> None:
    made, gaps = Interfaces(), Gaps()
    here, there = made.new("in_device"), made.new("in_device")
    second = v4(made, here, "10.0.0.6", ifa_prefixlen=24, ifa_flags=0x81, ifa_label=b"eth0:1")
    first = v4(made, here, "10.0.0.5", ifa_prefixlen=24, ifa_flags=0x80, ifa_label=b"eth0", ifa_next=second)
    tunnel = v4(made, there, "10.9.0.1", ifa_address=packed("10.9.0.2"), ifa_prefixlen=32, ifa_scope=253)
    made.set(here, "in_device", ifa_list=first)
    made.set(there, "in_device", ifa_list=tunnel)
    device = made.new("inet6_dev")
    six = [
        made.new("inet6_ifaddr", addr=packed("fe80::1"), prefix_len=64, scope=0x20, flags=0x80),
        made.new(
            "inet6_ifaddr",
            addr=packed("fd00::1"),
            prefix_len=64,
            scope=7,
            flags=0x21,
            peer_addr=packed("fd00::2"),
        ),
    ]
    made.chain(
        made.field(device, "inet6_dev", "addr_list"),
        [made.field(one, "inet6_ifaddr", "if_list") for one in six],
    )
    one, two, none = found(made, [here, there, 0], [device, 0, 0], gaps)
    assert [
        (each.address, each.prefix_length, each.scope, each.flags, each.label, each.peer) for each in one
    ] == [
        ("10.0.0.5", 24, "global", ["permanent"], "eth0", None),
        ("10.0.0.6", 24, "global", ["secondary", "permanent"], "eth0:1", None),
        ("fe80::1", 64, "link", ["permanent"], None, None),
        ("fd00::1", 64, "7", ["temporary", "deprecated"], None, "fd00::2"),
    ]
    assert [(each.family, each.address, each.peer, each.scope, each.label) for each in two] == [
        ("inet", "10.9.0.1", "10.9.0.2", "link", None)
    ]
    assert none == []
    assert gaps.records() == []
    assert address_flags(0x1, "inet") == ["secondary"]


def test_lists_that_lie() -> None:
    made, gaps = Interfaces(), Gaps()
    here, there = made.new("in_device"), made.new("in_device")
    loop, foreign = v4(made, here, "10.0.0.5"), v4(made, 0x1234, "10.0.0.7")
    made.set(loop, "in_ifaddr", ifa_next=loop)
    made.set(here, "in_device", ifa_list=loop)
    made.set(there, "in_device", ifa_list=foreign)
    device = made.new("inet6_dev")
    made.put(made.field(device, "inet6_dev", "addr_list"), 0xFFFF_C900_0000_0000)
    addresses = found(made, [here, there], [device, 0], gaps)
    assert [[one.address for one in each] for each in addresses] == [["10.0.0.5"], []]
    assert [gap.reason for gap in gaps.records()] == ["unreadable", "torn", "unreadable"]
