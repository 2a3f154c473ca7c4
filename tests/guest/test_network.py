"""The network, against the guest's own word: /proc/net of each namespace, read inside, on every kernel."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pytest

import vmon
from tests.guest.compare import settles
from tests.guest.conftest import say
from tests.guest.truth import NET_STATES, endpoint
from vmon.core.errors import UsageError
from vmon.core.records.network import RouteRecord
from vmon.core.records.process import SocketRecord
from vmon.lab.guest import LabGuest

ETHER = {"0003": "all", "0806": "arp", "88b5": "0x88b5", "0000": "", "0800": "ip", "86dd": "ipv6"}
NETLINK = {
    0: "route", 2: "usersock", 4: "sock_diag", 5: "nflog", 6: "xfrm", 7: "selinux", 9: "audit", 10: "fib_lookup",
    11: "connector", 12: "netfilter", 15: "kobject_uevent", 16: "generic", 20: "rdma", 21: "crypto",
}  # fmt: skip
KINDS = {"0001": "stream", "0002": "dgram", "0005": "seqpacket"}
NOT_TOLD = "sockets of other families (vsock, sctp, mptcp...) that no process holds"


class Scene(NamedTuple):
    """Sockets of every kind in two namespaces: what the helper made, and where."""

    here: int
    apart: int
    namespaces: dict[int, int]
    """Inode number of the network namespace of each of the two processes."""


@pytest.fixture(scope="module")
def scene(guest: LabGuest) -> Iterator[Scene]:
    ready, here, apart = say(guest, "/lab/network").split()
    assert ready == "ready"
    numbers = {
        pid: int(say(guest, f"readlink /proc/{pid}/ns/net").strip()[5:-1]) for pid in (int(here), int(apart))
    }
    yield Scene(int(here), int(apart), numbers)
    say(guest, f"kill -9 {here} {apart}; rm -f /tmp/w-net.sock /tmp/w-net-apart.sock")


def tables(guest: LabGuest, pid: int, *names: str) -> dict[str, list[list[str]]]:
    """Words of the lines of files of /proc/PID/net, their heads left out; none where this kernel has no such file."""
    text = say(
        guest,
        f"cd /proc/{pid}/net; for n in {' '.join(names)}; do echo == $n; cat $n 2>/dev/null; done; true",
    )
    parts = (part.split("\n") for part in text.removeprefix("== ").split("\n== "))
    return {name: [line.split() for line in lines[1:] if line] for name, *lines in parts}


def table(guest: LabGuest, pid: int, name: str) -> list[list[str]]:
    return tables(guest, pid, name)[name]


INET = ("tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6", "icmp", "icmp6")


def inet_truth(guest: LabGuest, pid: int) -> Counter[tuple[object, ...]]:
    """Protocol, family, ends, state, queues, uid, inode of every socket of the internet."""
    found: Counter[tuple[object, ...]] = Counter()
    for name, lines in tables(guest, pid, *INET).items():
        protocol, family = name.removesuffix("6"), "inet6" if name.endswith("6") else "inet"
        for words in lines:
            state = NET_STATES[words[3]]
            local, remote = endpoint(words[1]), endpoint(words[2])
            if protocol != "tcp":
                state = state if state == "ESTABLISHED" else "NONE"
            sent, received = (int(word, 16) for word in words[4].split(":"))
            kind = protocol
            if protocol == "raw":
                kind = {1: "icmp", 58: "icmpv6"}.get(local[1], str(local[1]))
            found[kind, family, *local, *remote, state, sent, received, int(words[7]), int(words[9])] += 1
    return found


def seen_inet(record: SocketRecord) -> tuple[object, ...]:
    """What /proc/net says of a socket: zeros for what is left of one, and SYN_RECV for both kinds of it."""
    return (
        record.protocol, record.family, record.local_address, record.local_port, record.remote_address,
        record.remote_port, "SYN_RECV" if record.state == "NEW_SYN_RECV" else record.state, record.tx_queue or 0,
        record.rx_queue or 0, record.uid or 0, record.inode,
    )  # fmt: skip


def in_tables(record: SocketRecord) -> bool:
    """Whether /proc/net shows it: what a process has but never bound is in no table."""
    if record.protocol == "tcp":
        return record.state != "CLOSE"
    return record.protocol not in ("mptcp", "sctp") and bool(record.local_port)


@pytest.mark.parametrize("where", ["here", "apart"])
def test_sockets_of_the_internet(guest: LabGuest, vm: vmon.VirtualMachine, scene: Scene, where: str) -> None:
    # What is left of a connection is gone after a minute.
    settles(lambda: compare_inet(guest, vm, scene, getattr(scene, where)))


def compare_inet(guest: LabGuest, vm: vmon.VirtualMachine, scene: Scene, pid: int) -> None:
    before = inet_truth(guest, pid)
    answer = vm.sockets(all=True, namespace=scene.namespaces[pid])
    after = inet_truth(guest, pid)
    assert {gap.what for gap in answer.coverage} == {NOT_TOLD}
    sockets = [record for record in answer if record.family in ("inet", "inet6") and in_tables(record)]
    # A socket that several descriptors lead to is one.
    seen = Counter(seen_inet(record) for record in {record.sock: record for record in sockets}.values())
    assert seen - after == seen - before == Counter()
    assert (before & after) - seen == Counter()
    states = Counter(record.state for record in sockets if record.protocol == "tcp")
    assert states["LISTEN"] >= 5
    assert states["NEW_SYN_RECV"] >= 1
    assert states["TIME_WAIT"] + states["FIN_WAIT2"] >= 2
    assert states["ESTABLISHED"] >= 8
    assert {"icmp", "icmpv6", "253", "tcp", "udp"} <= {record.protocol for record in sockets}
    assert {record.rx_queue for record in sockets if record.protocol == "tcp"} >= {321, 5}
    on_device = [record for record in sockets if record.interface]
    assert [(record.local_port, record.interface, record.uid) for record in on_device] == [(7103, "lo", 1000)]
    nobody = [record for record in sockets if record.pid is None and record.inode]
    assert [(record.local_port, record.state, record.kernel) for record in nobody] == [
        (7009, "LISTEN", False)
    ]


@pytest.mark.parametrize("where", ["here", "apart"])
def test_unix_sockets_and_their_peers(
    guest: LabGuest, vm: vmon.VirtualMachine, scene: Scene, where: str
) -> None:
    settles(lambda: compare_unix(guest, vm, scene, getattr(scene, where)))


def compare_unix(guest: LabGuest, vm: vmon.VirtualMachine, scene: Scene, pid: int) -> None:
    told = Counter(
        (KINDS[words[4]], int(words[6]), " ".join(words[7:])) for words in table(guest, pid, "unix")
    )
    records = [
        record for record in vm.sockets(all=True, namespace=scene.namespaces[pid]) if record.family == "unix"
    ]
    distinct = {record.sock: record for record in records}.values()
    assert Counter((record.type, record.inode, record.path) for record in distinct) == told
    own = [record for record in records if record.pid == pid]
    by_inode = {record.inode: record for record in own}
    paired = [record for record in own if record.peer_inode]
    assert len(paired) >= 6
    for record in paired:
        peer = by_inode[record.peer_inode or 0]
        assert (peer.peer_inode, record.peer_pid) == (record.inode, pid)
        assert record.peer_process == record.process
    # The one that waits to be accepted has no inode yet.
    assert [record.peer_pid for record in own if record.peer_inode == 0] == [None]
    queues = {(record.type, record.state == "LISTEN", record.rx_queue) for record in own if record.rx_queue}
    assert queues == {("stream", True, 1), ("stream", False, 200), ("dgram", False, 10), ("dgram", False, 1)}


@pytest.mark.parametrize("where", ["here", "apart"])
def test_packet_and_netlink_sockets(
    guest: LabGuest, vm: vmon.VirtualMachine, scene: Scene, where: str
) -> None:
    settles(lambda: compare_packet_and_netlink(guest, vm, scene, getattr(scene, where)))


def compare_packet_and_netlink(guest: LabGuest, vm: vmon.VirtualMachine, scene: Scene, pid: int) -> None:
    packet = Counter(
        ({"3": "raw", "2": "dgram"}[words[2]], ETHER[words[3]], int(words[4]), int(words[6]), int(words[8]))
        for words in table(guest, pid, "packet")
    )
    netlink = Counter(
        (NETLINK.get(int(words[1]), words[1]), int(words[2]), int(words[4]), int(words[5]), int(words[9]))
        for words in table(guest, pid, "netlink")
    )
    numbers = {None: 0, "lo": 1}
    every = vm.sockets(all=True, namespace=scene.namespaces[pid])
    distinct = list({record.sock: record for record in every}.values())
    assert packet == Counter(
        (record.type, record.protocol, numbers[record.interface], record.rx_queue, record.inode)
        for record in distinct
        if record.family == "packet"
    )
    assert sum(packet.values()) >= 3
    seen = Counter(
        (record.protocol, record.portid, record.rx_queue, record.tx_queue, record.inode)
        for record in distinct
        if record.family == "netlink" and (record.portid or record.pid is None)
    )
    assert seen == netlink
    assert ("route", 77000) in {(record.protocol, record.portid) for record in distinct if record.pid == pid}
    kernel = [record for record in distinct if record.family == "netlink" and record.kernel]
    assert {record.portid for record in kernel} == {0}
    assert {record.pid for record in kernel} == {None}


def test_ports_and_who_listens(guest: LabGuest, vm: vmon.VirtualMachine, scene: Scene) -> None:
    every = vm.ports()
    assert {gap.what for gap in every.coverage} == {NOT_TOLD}
    for pid, name in ((scene.here, "w-net"), (scene.apart, "w-net-apart")):
        ports = [port for port in every if port.net_namespace == scene.namespaces[pid]]
        assert vm.ports(namespace=scene.namespaces[pid]) == ports
        told = {
            (words[1].split(":")[1], words[9])
            for file, lines in tables(guest, pid, *INET[:6]).items()
            for words in lines
            if words[3] == ("0A" if file.startswith("tcp") else "07") and words[2].endswith(":0000")
        }
        assert {(f"{port.port:04X}", str(port.inode)) for port in ports} == told
        own = {port.port: port for port in ports if 7000 <= port.port < 8000}
        assert set(own) >= {7001, 7002, 7003, 7004, 7009, 7101, 7102, 7103}
        assert {port.process for number, port in own.items() if number != 7009} == {name}
        assert {port.exe for number, port in own.items() if number != 7009} == {"/lab/network"}
        hidden = own[7009]
        assert (hidden.pid, hidden.process, hidden.exe, hidden.kernel, hidden.uid) == (
            None,
            None,
            None,
            False,
            0,
        )
        assert [port.interface for port in own.values() if port.interface] == ["lo"]


def test_sockets_of_processes_alone(vm: vmon.VirtualMachine, scene: Scene) -> None:
    held = vm.sockets()
    assert {record.pid is None for record in held} == {False}
    number = scene.namespaces[scene.apart]
    assert vm.sockets(namespace=number) == [record for record in held if record.net_namespace == number]
    with pytest.raises(UsageError, match="no network namespace 7"):
        vm.sockets(namespace=7)


LINKS = """
modprobe dummy numdummies=0; modprobe veth; modprobe bridge
ip link add name d0 type dummy; ip link set d0 up; ip address add 10.1.2.3/24 dev d0
ip address add 10.1.2.4/24 dev d0 label d0:two; ip address add 10.9.9.1/16 dev d0
ip address add fd00::5/64 dev d0; ip link set d0 mtu 1400; ip link set d0 promisc on; ip link set d0 txqueuelen 77
ip link add br0 type bridge; ip link add name v0 type veth peer name v1 || ip link add v0 type veth
ip link set v0 master br0; ip link set v0 up; ip link set br0 up
ping -c 2 -w 1 127.0.0.1; ping -c 1 -w 1 10.1.2.77; true
"""
UNLINK = "for one in d0 br0 v0; do ip link delete $one; done; rmmod veth bridge dummy; true"
FLAG_BITS = {
    "UP": 0, "BROADCAST": 1, "LOOPBACK": 3, "POINTOPOINT": 4, "NOARP": 7, "PROMISC": 8, "ALLMULTI": 9, "MULTICAST": 12,
}  # fmt: skip
SCOPES = {0: "global", 0x10: "host", 0x20: "link", 0x40: "site"}


@pytest.fixture
def links(guest: LabGuest) -> Iterator[None]:
    say(guest, LINKS)
    yield
    say(guest, UNLINK)


def sysfs(guest: LabGuest) -> dict[str, dict[str, str]]:
    """What /sys says of each interface."""
    script = (
        "cd /sys/class/net; for i in *; do [ -d $i ] || continue; for f in ifindex type address mtu flags operstate "
        'tx_queue_len; do echo "$i $f $(cat $i/$f 2>/dev/null)"; done; '
        '[ -L $i/master ] && echo "$i master $(basename $(readlink $i/master))"; done; true'
    )
    found: dict[str, dict[str, str]] = {}
    for line in say(guest, script).splitlines():
        name, field, *value = line.split(" ", 2)
        found.setdefault(name, {})[field] = value[0] if value else ""
    return found


def ip_truth(guest: LabGuest) -> tuple[dict[str, str], set[tuple[str, str, int, str, bool]]]:
    """The queueing discipline of each interface, and its IPv4 addresses, as busybox's ip has them."""
    qdiscs, addresses, name = {}, set(), ""
    for line in say(guest, "ip address").splitlines():
        words = line.split()
        if not line.startswith(" "):
            name = words[1].rstrip(":").split("@")[0]
            qdiscs[name] = words[words.index("qdisc") + 1]
        elif words[0] == "inet":
            address, length = words[1].split("/")
            scope = words[words.index("scope") + 1]
            addresses.add((name, address, int(length), scope, "secondary" in words))
    return qdiscs, addresses


def counts(guest: LabGuest) -> dict[str, list[int]]:
    """Bytes and packets received and sent, of /proc/net/dev."""
    found = {}
    for line in say(guest, "cat /proc/net/dev").splitlines()[2:]:
        name, _, rest = line.partition(":")
        words = [int(word) for word in rest.split()]
        found[name.strip()] = [words[0], words[1], words[8], words[9]]
    return found


@pytest.mark.usefixtures("links")
def test_interfaces(guest: LabGuest, vm: vmon.VirtualMachine, scene: Scene) -> None:
    # A link is found to be up, or to have no carrier, up to a second after; it gets addresses of its own then.
    settles(lambda: compare_interfaces(guest, vm, scene))


def compare_interfaces(guest: LabGuest, vm: vmon.VirtualMachine, scene: Scene) -> None:
    before = counts(guest)
    answer = vm.interfaces()
    after = counts(guest)
    told, (qdiscs, addresses) = sysfs(guest), ip_truth(guest)
    assert [record.name for record in answer] == sorted(told, key=lambda name: int(told[name]["ifindex"]))
    assert {"lo", "d0", "br0", "v0"} <= set(told)
    types = {"ether": "1", "loopback": "772"}
    for record in answer:
        words = told[record.name]
        assert str(record.index) == words["ifindex"]
        assert types[record.type] == words["type"]
        assert record.mac == words["address"]
        assert str(record.mtu) == words["mtu"]
        assert str(record.tx_queue_length) == words["tx_queue_len"]
        assert record.operstate == words["operstate"]
        assert record.master == words.get("master")
        flags = int(words["flags"], 16)
        assert {name for name in FLAG_BITS if name in record.flags} == {
            name for name, bit in FLAG_BITS.items() if flags >> bit & 1
        }
        assert record.qdisc == qdiscs[record.name]
        if record.rx_bytes is not None:
            seen = [record.rx_bytes, record.rx_packets, record.tx_bytes, record.tx_packets]
            first, last = before[record.name], after[record.name]
            assert all(low <= one <= high for low, one, high in zip(first, seen, last, strict=True)), record
    by_name = {record.name: record for record in answer}
    assert by_name["lo"].rx_packets and by_name["d0"].tx_packets
    assert (by_name["d0"].kind, by_name["br0"].kind, by_name["v0"].kind) == ("dummy", "bridge", "veth")
    assert (by_name["d0"].promiscuity, by_name["v0"].promiscuity, by_name["lo"].promiscuity) == (1, 1, 0)
    assert {"RUNNING", "LOWER_UP", "PROMISC"} <= set(by_name["d0"].flags)
    seen_v4 = {
        (record.name, one.address, one.prefix_length, one.scope, "secondary" in one.flags)
        for record in answer
        for one in record.addresses
        if one.family == "inet"
    }
    assert seen_v4 == addresses
    assert [one.label for one in by_name["d0"].addresses if one.family == "inet"] == ["d0", "d0", "d0:two"]
    told_v6 = set()
    for line in say(guest, "cat /proc/net/if_inet6").splitlines():
        address, _, length, scope, flags6, name = line.split()
        packed = ":".join(address[at : at + 4] for at in range(0, 32, 4))
        told_v6.add(
            (
                name,
                str(ipaddress.ip_address(packed)),
                int(length, 16),
                SCOPES[int(scope, 16)],
                int(flags6, 16) >> 7 & 1,
            )
        )
    assert told_v6 == {
        (record.name, one.address, one.prefix_length, one.scope, int("permanent" in one.flags))
        for record in answer
        for one in record.addresses
        if one.family == "inet6"
    }
    assert ("d0", "fd00::5", 64, "global", 1) in told_v6
    gaps = {(gap.what, gap.reason) for gap in answer.coverage}
    assert gaps == {("other network namespaces", "not looked for"), ("counters", "not looked for")}
    (left_out,) = (gap for gap in answer.coverage if gap.what == "other network namespaces")
    assert str(scene.namespaces[scene.apart]) in left_out.detail or left_out.count > 4
    (lo,) = vm.interfaces(namespace=scene.namespaces[scene.apart])
    assert (lo.name, lo.net_namespace) == ("lo", scene.namespaces[scene.apart])
    every = vm.interfaces(all_namespaces=True)
    assert {record.name for record in every} == set(told)
    assert len(every) == len(told) + left_out.count


ROUTES = """
modprobe dummy numdummies=0; modprobe veth
ip link add d0 type dummy; ip link set d0 up; ip address add 10.1.2.3/24 dev d0; ip address add fd00::5/64 dev d0
ip link add v0 type veth; ip link set v0 up; ip link set veth0 up
ip address add 10.2.0.1/24 dev v0; ip address add fd02::1/64 dev v0
ip route add default via 10.1.2.9 metric 5; ip route add default via 10.2.0.9 metric 7
ip route add 10.77.0.0/16 via 10.1.2.8 table 100; ip route add blackhole 10.88.0.0/16
ip route add 10.64.0.0/10 dev d0 scope link src 10.1.2.3
ip -6 route add fd77::/32 via fd00::9; ip -6 route add default via fd00::1 metric 50; ip -6 route add fd78::/32 dev v0
for one in $(seq 1 40); do ip route add 10.200.$one.0/24 via 10.1.2.$one; done
/lab/network routes d0
arp -s 10.2.0.9 aa:bb:cc:dd:ee:01 -i v0
ping -c 1 -w 1 10.2.0.5; sleep 3; true
"""
UNROUTE = "ip route flush table 100; ip link delete d0; ip link delete v0; rmmod veth dummy; true"


@pytest.fixture
def routes(guest: LabGuest) -> Iterator[None]:
    say(guest, ROUTES)
    yield
    say(guest, UNROUTE)


class Line(NamedTuple):
    """One line of `ip route list table all`, and what a record says in the same words."""

    type: str
    destination: str
    via: str | None
    dev: str | None
    table: str
    scope: str | None
    metric: int
    src: str | None


def listed(guest: LabGuest) -> Counter[Line]:
    """Routes as busybox's ip has them from the kernel; those of several ways are left out: it shows none."""
    found: Counter[Line] = Counter()
    for line in say(guest, "ip route list table all").splitlines():
        words = line.split()
        kind = (
            words.pop(0)
            if not words[0][0].isdigit() and ":" not in words[0] and words[0] != "default"
            else "unicast"
        )
        values = dict(zip(words[1::2], words[2::2], strict=True))
        six = (
            ":" in words[0]
            or ":" in values.get("via", "")
            or (words[0] == "default" and values.get("metric") == "50")
        )
        if "dev" not in values and kind == "unicast":
            continue
        table, scope = values.get("table", "main"), values.get("scope", "global")
        found[
            Line(
                kind,
                words[0],
                values.get("via"),
                values.get("dev"),
                table,
                None if six else scope,
                int(values.get("metric", 0)),
                values.get("src"),
            )
        ] += 1
    return found


def line_of(record: RouteRecord) -> Line:
    destination = f"{record.destination}/{record.prefix_length}"
    full = 32 if record.family == "inet" else 128
    if record.prefix_length in (0, full):
        destination = record.destination if record.prefix_length else "default"
    return Line(
        record.type, destination, record.gateway, record.interface, record.table, record.scope, record.metric,
        record.preferred_source,
    )  # fmt: skip


@pytest.mark.usefixtures("routes")
def test_routes_and_neighbours(guest: LabGuest, vm: vmon.VirtualMachine, scene: Scene) -> None:
    # Addresses of IPv6 are tried for a second or two before their routes are there; routers are asked for.
    settles(lambda: compare_routes(guest, vm, scene))
    settles(lambda: compare_neighbours(guest, vm))


def compare_routes(guest: LabGuest, vm: vmon.VirtualMachine, scene: Scene) -> None:
    answer = vm.routes()
    told = listed(guest)
    assert {gap.what for gap in answer.coverage} == {"other network namespaces"}
    # Routes of several ways, which busybox writes without their ways.
    several = {"10.99.0.0", "10.109.0.0", "fd99::", "fd19::"}
    seen = Counter(line_of(record) for record in answer if record.destination not in several)
    assert seen == told
    assert sum(told.values()) > 60
    ways: dict[str, list[tuple[str | None, str | None, int]]] = {}
    for record in answer:
        if record.destination in several:
            ways.setdefault(record.destination, []).append((record.gateway, record.interface, record.weight))
    assert ways == {
        "10.99.0.0": [("10.1.2.8", "d0", 1), ("10.1.2.9", "d0", 3)],
        "10.109.0.0": [("10.1.2.7", "d0", 1), ("10.1.2.8", "d0", 1)],
        "fd99::": [("fd00::8", "d0", 1), ("fd00::9", "d0", 3)],
        "fd19::": [("fd00::7", "d0", 1), ("fd00::8", "d0", 1)],
    }
    assert {record.gateway: record.protocol for record in answer if record.destination == "10.107.0.0"} == {
        "10.1.2.7": "static"
    }
    # The trie of IPv4 as the kernel draws it: every prefix with its scope and type.
    drawn, leaf = set(), ""
    for line in say(guest, "cat /proc/net/fib_trie").splitlines():
        words = line.split()
        if words[0] == "|--":
            leaf = words[1]
        elif words[0].startswith("/"):
            drawn.add((leaf, int(words[0][1:]), words[1].replace("universe", "global"), words[2].lower()))
    assert drawn == {
        (record.destination, record.prefix_length, record.scope, record.type)
        for record in answer
        if record.family == "inet"
    }
    # IPv6, all tables, with the ways of all routes that have no nexthop object.
    raw6 = Counter()
    for line in say(guest, "cat /proc/net/ipv6_route").splitlines():
        words = line.split()
        if (words[8], words[9]) != ("00200200", "lo"):
            raw6[unpacked(words[0]), int(words[1], 16), unpacked(words[4]), int(words[5], 16), words[9]] += 1
    seen6 = Counter(
        (record.destination, record.prefix_length, record.gateway or "::", record.metric, record.interface)
        for record in answer
        if record.family == "inet6" and record.destination not in ("fd19::", "fd17::")
    )
    assert seen6 == Counter({key: count for key, count in raw6.items() if key[0] not in ("fd19::", "fd17::")})
    apart = vm.routes(namespace=scene.namespaces[scene.apart])
    assert {record.interface for record in apart} == {"lo"}
    assert {record.net_namespace for record in apart} == {scene.namespaces[scene.apart]}
    assert len(vm.routes(all_namespaces=True)) >= len(answer) + len(apart)


def compare_neighbours(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    neighbours = vm.neighbours()
    told_arp = set()
    for line in say(guest, "cat /proc/net/arp").splitlines()[1:]:
        address, _, flags, mac, _, name = line.split()
        told_arp.add((address, name, mac if int(flags, 16) & 2 else None, flags == "0x6"))
    assert told_arp == {
        (one.address, one.interface, one.mac, one.state == "permanent")
        for one in neighbours
        if one.family == "inet" and one.state not in ("noarp", "none")
    }
    assert ("10.2.0.9", "v0", "aa:bb:cc:dd:ee:01", True) in told_arp
    told_all = set()
    for line in say(guest, "ip neigh show nud all").splitlines():
        words = line.split()
        told_all.add((words[0], words[2], words[-1].lower()))
    states = {"failed": "failed or so", "incomplete": "failed or so"}
    assert {(a, b, states.get(c, c)) for a, b, c in told_all} == {
        (one.address, one.interface, states.get(one.state, one.state)) for one in neighbours
    }
    assert {record.family for record in neighbours} == {"inet", "inet6"}


def unpacked(digits: str) -> str:
    return str(ipaddress.ip_address(bytes.fromhex(digits)))
