from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import WORD_VALUES, steady
from tests.unit.linux.interfaces import ETHER, LOOPBACK, Interfaces
from tests.unit.linux.sockets import Sockets
from vmon.core.coverage import Gaps
from vmon.linux.net import Net
from vmon.linux.netdevice import find_interfaces, flag_names, read_names

EDGE = (1 << 64) - 8


def test_names_by_number() -> None:
    small, gaps = Sockets(), Gaps()
    assert read_names(small.kernel(), small.first, gaps) == {2: "eth0"}
    assert read_names(small.kernel(), small.other, gaps) == {2: "tun\udcff"}
    assert gaps.records() == []


def test_a_list_that_breaks_is_told() -> None:
    small, gaps = Sockets(), Gaps()
    small.put(small.field(small.first, "net", "dev_base_head"), 0xFFFF_C900_0000_0000)
    assert read_names(small.kernel(), small.first, gaps) == {}
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [("interfaces", "unreadable")]


def test_interfaces() -> None:
    made, gaps = Interfaces(), Gaps()
    qdisc = made.new("Qdisc", ops=made.new("Qdisc_ops", id=b"noqueue"))
    mac = made.data(bytes([0xAA, 0xBB, 0xCC, 0, 1, 2]))
    made.device(b"lo", type=LOOPBACK, mtu=65536, flags=0x9, state=1, qdisc=qdisc)
    bridge = made.device(b"br0", b"bridge", type=ETHER, flags=0x1003, state=0b101, operstate=2)
    port = made.device(
        b"v\xff", b"veth", type=ETHER, addr_len=6, dev_addr=mac, flags=0x1103, state=1, operstate=6, promiscuity=2,
        tx_queue_len=1000,
    )  # fmt: skip
    made.device(b"tun0", type=65534, flags=0x1090)
    made.device(b"odd", type=12345, operstate=99, state=1)
    made.master(port, (made.devices[0], 0), (bridge, 1))
    found = find_interfaces(made.kernel(), Net(made.net, 11), gaps)
    assert [(one.index, one.name, one.type, one.kind) for one in found] == [
        (1, "lo", "loopback", None),
        (2, "br0", "ether", "bridge"),
        (3, "v\udcff", "ether", "veth"),
        (4, "tun0", "none", None),
        (5, "odd", "12345", None),
    ]
    assert [one.operstate for one in found] == ["unknown", "down", "up", "down", "99"]
    assert [one.master for one in found] == [None, None, "br0", None, None]
    assert [one.mac for one in found] == [None, None, "aa:bb:cc:00:01:02", None, None]
    assert [one.qdisc for one in found] == ["noqueue", None, None, None, None]
    assert (found[2].promiscuity, found[2].tx_queue_length, found[2].net_namespace) == (2, 1000, 11)
    assert found[2].flags == ["UP", "BROADCAST", "RUNNING", "PROMISC", "MULTICAST", "LOWER_UP"]
    assert found[1].flags == ["NO-CARRIER", "UP", "BROADCAST", "MULTICAST"]
    assert gaps.records() == []


@pytest.mark.parametrize(
    ("flags", "state", "oper", "names"),
    [
        (0x9, 1, 0, ["UP", "LOOPBACK", "RUNNING", "LOWER_UP"]),
        (0x49, 0b101, 6, ["UP", "LOOPBACK", "RUNNING"]),
        (0x10040, 0, 6, []),
        (0x1, 0b10001, 5, ["NO-CARRIER", "UP", "LOWER_UP", "DORMANT"]),
    ],
)
def test_flags_are_what_ip_shows(flags: int, state: int, oper: int, names: list[str]) -> None:
    assert flag_names(flags, state, oper) == names


def test_what_leads_nowhere_leaves_the_rest() -> None:
    made, gaps = Interfaces(), Gaps()
    wild = 0xFFFF_C900_0000_0000
    made.device(b"a", addr_len=6, dev_addr=wild, qdisc=wild, rtnl_link_ops=wild, ip_ptr=wild, ip6_ptr=wild)
    broken = made.device(b"b", addr_len=200)
    made.put(made.field(broken, "net_device", "adj_list.upper"), wild)
    found = find_interfaces(made.kernel(), Net(made.net, 11), gaps)
    assert [(one.name, one.mac, one.kind, one.qdisc, one.addresses, one.master) for one in found] == [
        ("a", None, None, None, [], None),
        ("b", None, None, None, [], None),
    ]
    assert {gap.what for gap in gaps.records()} == {"mac", "addresses", "master"}


@steady(60)
@example([(place, EDGE) for place in range(60)])
@given(st.lists(st.tuples(st.integers(0, 60), WORD_VALUES), max_size=12))
def test_devices_of_any_bytes(changes: list[tuple[int, int]]) -> None:
    made, gaps = Interfaces(), Gaps()
    one = made.device(b"a", b"veth", addr_len=6)
    other = made.device(b"b", asked=made.symbol("dev_get_tstats64"))
    made.master(one, (other, 1))
    size = made.profile["net_device"].size
    places = [*range(one, one + size, 8), *range(other, other + size, 8), made.symbol("nr_cpu_ids")]
    for place, value in changes:
        made.put(places[place % len(places)], value)
    assert len(find_interfaces(made.kernel(), Net(made.net, 11), gaps)) <= 2


def test_each_pointer_at_the_end_of_all_addresses() -> None:
    for place in range(60):
        test_devices_of_any_bytes.hypothesis.inner_test([(place, EDGE)])  # type: ignore[attr-defined]
