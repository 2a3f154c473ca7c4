"""The network, against the guest's own word: /proc/net of each namespace, read inside, on every kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pytest

import vmon
from tests.guest.conftest import say
from tests.guest.truth import NET_STATES, endpoint
from vmon.core.errors import UsageError
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


def table(guest: LabGuest, pid: int, name: str) -> list[list[str]]:
    """Words of the lines of a file of /proc/PID/net, its head left out; none where this kernel has no such file."""
    text = say(guest, f"cat /proc/{pid}/net/{name} 2>/dev/null || true")
    return [line.split() for line in text.splitlines()[1:]]


def inet_truth(guest: LabGuest, pid: int) -> Counter[tuple[object, ...]]:
    """Protocol, family, ends, state, queues, uid, inode of every socket of the internet."""
    found: Counter[tuple[object, ...]] = Counter()
    for name in ("tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6", "icmp", "icmp6"):
        protocol, family = name.removesuffix("6"), "inet6" if name.endswith("6") else "inet"
        for words in table(guest, pid, name):
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
    pid = getattr(scene, where)
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
    pid = getattr(scene, where)
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
    assert {record.rx_queue for record in own if record.type == "stream" and record.state == "LISTEN"} == {1}


@pytest.mark.parametrize("where", ["here", "apart"])
def test_packet_and_netlink_sockets(
    guest: LabGuest, vm: vmon.VirtualMachine, scene: Scene, where: str
) -> None:
    pid = getattr(scene, where)
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
            for file in ("tcp", "tcp6", "udp", "udp6", "udplite", "udplite6")
            for words in table(guest, pid, file)
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
