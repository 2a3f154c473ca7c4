"""A socket is a file whose private data is struct socket; its sk says addresses, ports and state.

Reads socket, sock and what each family adds to it. A hostile guest can write any address; numbers are shown as they
are. Which sockets there are is asked of processes (openfiles.py) or of the kernel's tables (everysocket.py). What
changes while it is read (queues) is of about the same moment, not of one.
Sources: include/net/sock.h, net/ipv4/tcp_ipv4.c, net/ipv4/udp.c, include/net/inet_timewait_sock.h.
"""

from __future__ import annotations

import ipaddress

import msgspec
import numpy as np
from numpy.typing import NDArray

from vmon.kernel.columns import Column, Columns, unique
from vmon.kernel.profile import Wants
from vmon.linux.inet import AF_INET, AF_INET6
from vmon.linux.kernel import Kernel
from vmon.linux.netlink import AF_NETLINK, AF_PACKET
from vmon.linux.netlink import SOCK_WANTS as NETLINK_WANTS
from vmon.linux.unix import AF_UNIX, NAME_WANTS, NAMELESS, read_unix, read_unix_queues

FAMILY_NAMES = {
    AF_UNIX: "unix",
    AF_INET: "inet",
    AF_INET6: "inet6",
    AF_NETLINK: "netlink",
    AF_PACKET: "packet",
    40: "vsock",
    38: "alg",
    31: "bluetooth",
    44: "xdp",
}
TYPE_NAMES = {1: "stream", 2: "dgram", 3: "raw", 5: "seqpacket", 10: "packet"}
PROTOCOL_NAMES = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp", 136: "udplite", 262: "mptcp"}
TCP_STATES = {
    1: "ESTABLISHED",
    2: "SYN_SENT",
    3: "SYN_RECV",
    4: "FIN_WAIT1",
    5: "FIN_WAIT2",
    6: "TIME_WAIT",
    7: "CLOSE",
    8: "CLOSE_WAIT",
    9: "LAST_ACK",
    10: "LISTEN",
    11: "CLOSING",
    12: "NEW_SYN_RECV",
}
CONNECTION_PROTOCOLS = (6, 132, 262)
SOCK_STREAM, SOCK_DGRAM = 1, 2
TCP_TIME_WAIT, TCP_LISTEN, TCP_NEW_SYN_RECV = 6, 10, 12
IPPROTO_TCP, IPPROTO_UDP = 6, (17, 136)
NETLINK_NAMES = {
    0: "route",
    2: "usersock",
    3: "firewall",
    4: "sock_diag",
    5: "nflog",
    6: "xfrm",
    7: "selinux",
    8: "iscsi",
    9: "audit",
    10: "fib_lookup",
    11: "connector",
    12: "netfilter",
    13: "ip6_fw",
    14: "dnrtmsg",
    15: "kobject_uevent",
    16: "generic",
    18: "scsitransport",
    19: "ecryptfs",
    20: "rdma",
    21: "crypto",
    22: "smc",
}
"""NETLINK_... of linux/netlink.h, in small letters."""
ETHER_NAMES = {0: "", 3: "all", 0x800: "ip", 0x806: "arp", 0x86DD: "ipv6", 0x888E: "pae", 0x88CC: "lldp"}
"""ETH_P_... of linux/if_ether.h; others are numbers."""

COMMON = "__sk_common."
COMMON_FIELDS = "skc_family skc_state skc_num skc_dport skc_daddr skc_rcv_saddr skc_v6_daddr skc_v6_rcv_saddr"
NET, DEVICE = COMMON + "skc_net", COMMON + "skc_bound_dev_if"
HEAD_FIELDS = " ".join([*(COMMON + name for name in COMMON_FIELDS.split()), NET, DEVICE])
"""What a full sock, a TIME_WAIT and a request begin with."""
RECEIVED, WAITING, SENT = (
    "sk_backlog.rmem_alloc.counter",
    "sk_receive_queue.qlen",
    "sk_wmem_alloc.refs.counter",
)
SOCK_FIELDS = (
    f"{HEAD_FIELDS} sk_protocol sk_type sk_uid sk_kern_sock sk_ack_backlog {WAITING} {RECEIVED} {SENT}"
)
TCP_FIELDS = "rcv_nxt copied_seq write_seq snd_una"
WANTS = (
    NAME_WANTS
    | NETLINK_WANTS
    | Wants(
        structs={
            "socket": "state type sk",
            "socket_alloc": "socket vfs_inode",
            "sock": SOCK_FIELDS + " sk_socket",
            "tcp_sock": TCP_FIELDS,
            "udp_sock": "forward_deficit",
            "inet_timewait_sock": "tw_substate",
        }
    )
)


class SocketState(msgspec.Struct, frozen=True, gc=False):
    """One socket: who talks to whom."""

    family: str
    type: str
    protocol: str
    """Of the internet, of netlink or of the frames that a packet socket gets; empty for other families."""
    state: str
    """TCP's word; for others ESTABLISHED, LISTEN or NONE."""
    local_address: str
    local_port: int | None
    remote_address: str
    remote_port: int | None
    path: bytes
    """Name of a unix socket; an abstract name starts with a NUL."""
    peer: int
    """Address of the connected unix socket's sock; 0 when there is none."""
    sock: int
    uid: int | None = None
    rx_queue: int | None = None
    tx_queue: int | None = None
    """Bytes, as in /proc/net; for a listener rx_queue counts the connections that wait."""
    portid: int | None = None
    interface_index: int = 0
    """Interface that it is bound to; 0 for none."""
    kernel: bool = False
    """Made by the kernel for itself."""
    net: int = 0
    """Address of its struct net."""


def read_sockets(kernel: Kernel, sockets: Column) -> dict[int, SocketState]:
    """State of each struct socket, by its address. A socket that is being torn down has no sk and is left out."""
    sockets = unique(sockets)
    sockets = sockets[sockets != 0]
    sks = kernel.read("socket", "sk", sockets)["sk"]
    sockets, sks = sockets[sks != 0], sks[sks != 0]
    return dict(zip(sockets.tolist(), read_socks(kernel, sks), strict=True))


def read_socks(kernel: Kernel, sks: Column) -> list[SocketState]:
    """State of each full sock. TIME_WAIT and requests are none: read_minisocks()."""
    columns = kernel.read("sock", SOCK_FIELDS, sks)
    families = columns[COMMON + "skc_family"]
    unix = read_unix(kernel, sks[families == AF_UNIX])
    local, remote = _endpoints(columns, families)
    protocols, ports, devices = _beside(kernel, sks, families, columns)
    received, sent = _queues(kernel, sks, families, columns)
    # Thousands of sockets are of a handful of kinds.
    kinds: dict[tuple[int, ...], tuple[str, str, str, str]] = {}
    rows = zip(
        families.tolist(),
        columns["sk_type"].tolist(),
        protocols.tolist(),
        columns[COMMON + "skc_state"].tolist(),
        strict=True,
    )
    result: list[SocketState] = []
    here: Endpoint
    there: Endpoint
    for sk, kind, here, there, uid, rx, tx, port, device, own, net in zip(
        sks.tolist(),
        rows,
        local,
        remote,
        _known(columns, "sk_uid"),
        received,
        sent,
        ports,
        devices.tolist(),
        _known(columns, "sk_kern_sock"),
        _nets(columns),
        strict=True,
    ):
        words = kinds.get(kind) or kinds.setdefault(kind, _words(*kind))
        path, peer = unix.get(sk, NAMELESS)
        state = SocketState(*words, *here, *there, path, peer, sk, uid, rx, tx, port, device, bool(own), net)
        result.append(state)
    return result


def read_minisocks(kernel: Kernel, sks: Column) -> list[SocketState]:
    """State of each TIME_WAIT and each request of TCP: all that is left, or not yet more, than who talks to whom."""
    columns = kernel.read("sock", HEAD_FIELDS, sks)
    families, states = columns[COMMON + "skc_family"], columns[COMMON + "skc_state"]
    local, remote = _endpoints(columns, families)
    # A TIME_WAIT can be one that still waits for the other's end.
    waiting = states == TCP_TIME_WAIT
    states = states.copy()
    states[waiting] = kernel.read("inet_timewait_sock", "tw_substate", sks[waiting])["tw_substate"]
    here: Endpoint
    there: Endpoint
    result = []
    for sk, family, state, here, there, device, net in zip(
        sks.tolist(),
        families.tolist(),
        states.tolist(),
        local,
        remote,
        _devices(columns).tolist(),
        _nets(columns),
        strict=True,
    ):
        words = _words(family, SOCK_STREAM, IPPROTO_TCP, state)
        result.append(SocketState(*words, *here, *there, *NAMELESS, sk, *UNKNOWN, device, False, net))
    return result


def is_minisock(kernel: Kernel, sks: Column) -> NDArray[np.bool_]:
    """Which of TCP's entries are a TIME_WAIT or a request."""
    states = kernel.read("sock", COMMON + "skc_state", sks)[COMMON + "skc_state"]
    found: NDArray[np.bool_] = (states == TCP_TIME_WAIT) | (states == TCP_NEW_SYN_RECV)
    return found


def read_sock_inodes(kernel: Kernel, sks: Column) -> list[int]:
    """Inode number of each sock; 0 for one that no file leads to any more, or not yet."""
    sockets = kernel.read("sock", "sk_socket", sks)
    if "sk_socket" not in sockets or "socket_alloc" not in kernel.profile.structs:
        return [0] * len(sks)
    pointers = sockets["sk_socket"]
    way = kernel.offset("socket_alloc", "vfs_inode") - kernel.offset("socket_alloc", "socket")
    numbers = kernel.read("inode", "i_ino", pointers + np.uint64(way))["i_ino"]
    inodes: list[int] = np.where(pointers != 0, numbers, 0).tolist()
    return inodes


def _known(columns: Columns, field: str) -> list[int] | list[None]:
    """A column; None where this kernel lacks it."""
    return columns[field].tolist() if field in columns else [None] * columns.count


def _nets(columns: Columns) -> list[int]:
    # A kernel without namespaces has an empty structure there.
    if NET not in columns or not columns.raw(NET).shape[1]:
        return [0] * columns.count
    found: list[int] = columns[NET].tolist()
    return found


def _devices(columns: Columns) -> Column:
    return columns[DEVICE] if DEVICE in columns else np.zeros(columns.count, dtype=np.uint64)


def _beside(
    kernel: Kernel, sks: Column, families: Column, columns: Columns
) -> tuple[Column, list[int | None], Column]:
    """Protocol, netlink port and bound interface of each: some families keep them in places of their own."""
    protocols, devices = columns["sk_protocol"].copy(), _devices(columns).copy()
    ports: list[int | None] = [None] * len(sks)
    rows = np.flatnonzero(families == AF_NETLINK)
    if rows.size:
        found = kernel.read("netlink_sock", "portid", sks[rows])["portid"].tolist()
        for row, port in zip(rows.tolist(), found, strict=True):
            ports[row] = port
    rows = np.flatnonzero(families == AF_PACKET)
    if rows.size and "packet_sock" in kernel.profile.structs:
        packet = kernel.read("packet_sock", "num ifindex", sks[rows])
        protocols[rows] = packet["num"].astype(np.uint16).byteswap()
        devices[rows] = packet["ifindex"]
    return protocols, ports, devices


Queue = list[int | None]


def _queues(kernel: Kernel, sks: Column, families: Column, columns: Columns) -> tuple[Queue, Queue]:
    """Bytes that wait to be read and to be sent or acknowledged, as /proc/net has them; None where unknown."""
    if RECEIVED not in columns or "tcp_sock" not in kernel.profile.structs:
        return [None] * len(sks), [None] * len(sks)
    internet = (families == AF_INET) | (families == AF_INET6)
    protocols, kinds, states = columns["sk_protocol"], columns["sk_type"], columns[COMMON + "skc_state"]
    received = columns.signed(RECEIVED)
    # One reference is the socket's own.
    sent = columns.signed(SENT) - 1
    rows = np.flatnonzero(internet & (protocols == IPPROTO_TCP) & (kinds == SOCK_STREAM))
    tcp = kernel.read("tcp_sock", TCP_FIELDS, sks[rows])
    listens = states[rows] == TCP_LISTEN
    waiting = np.maximum(_distance(tcp, "rcv_nxt", "copied_seq"), 0)
    received[rows] = np.where(listens, columns.signed("sk_ack_backlog")[rows], waiting)
    sent[rows] = np.where(listens, 0, _distance(tcp, "write_seq", "snd_una"))
    rows = np.flatnonzero(internet & np.isin(protocols, IPPROTO_UDP) & (kinds == SOCK_DGRAM))
    # Read already, but not yet given back.
    received[rows] -= kernel.read("udp_sock", "forward_deficit", sks[rows]).signed("forward_deficit")
    rx: Queue = np.maximum(received, 0).tolist()
    tx: Queue = np.maximum(sent, 0).tolist()
    # A unix socket counts what waits to be read with its sender: of a listener each connection is one.
    lengths = columns[WAITING]
    full = (families == AF_UNIX) & (lengths != 0) & (states != TCP_LISTEN)
    for row in np.flatnonzero((families == AF_UNIX) & ~full).tolist():
        rx[row] = int(lengths[row])
    rows = np.flatnonzero(full)
    for row, size in zip(rows.tolist(), read_unix_queues(kernel, sks[rows], kinds[rows]), strict=True):
        rx[row] = size
    return rx, tx


def _distance(columns: Columns, ahead: str, behind: str) -> NDArray[np.int64]:
    """How far one sequence number is ahead of another: they wrap at 32 bits."""
    distance: NDArray[np.int64] = (
        (columns[ahead] - columns[behind]).astype(np.uint32).view(np.int32).astype(np.int64)
    )
    return distance


def _words(family: int, kind: int, protocol: int, state: int) -> tuple[str, str, str, str]:
    """What a socket is, in words: family, type, protocol, state."""
    internet = family in (AF_INET, AF_INET6)
    if internet:
        name = PROTOCOL_NAMES.get(protocol, str(protocol))
    elif family == AF_NETLINK:
        name = NETLINK_NAMES.get(protocol, str(protocol))
    else:
        name = ETHER_NAMES.get(protocol, f"{protocol:#06x}") if family == AF_PACKET else ""
    return (
        FAMILY_NAMES.get(family, str(family)),
        TYPE_NAMES.get(kind, str(kind)),
        name,
        _state_name(state, internet and protocol in CONNECTION_PROTOCOLS),
    )


def _state_name(state: int, connection: bool) -> str:
    if connection:
        return TCP_STATES.get(state, str(state))
    return TCP_STATES[state] if state in (1, 10) else "NONE"


Endpoint = tuple[str, int | None]
MAPPED = bytes(10) + b"\xff\xff"
NOWHERE: Endpoint = ("", None)
UNKNOWN = (None, None, None, None)
"""User, queues and netlink port of what is no full sock."""


def _endpoints(columns: Columns, families: Column) -> tuple[list[Endpoint], list[Endpoint]]:
    """Local and remote address and port of each socket; nothing for those that are not of the internet."""
    local_ports = columns[COMMON + "skc_num"]
    # Stored in network order.
    remote_ports = columns[COMMON + "skc_dport"].astype(np.uint16).byteswap()
    ends: list[list[Endpoint]] = []
    for ports, fields in (
        (local_ports, ((AF_INET, "skc_rcv_saddr", 4), (AF_INET6, "skc_v6_rcv_saddr", 16))),
        (remote_ports, ((AF_INET, "skc_daddr", 4), (AF_INET6, "skc_v6_daddr", 16))),
    ):
        end = [NOWHERE] * columns.count
        for family, field, size in fields:
            rows = np.flatnonzero(families == family)
            texts = _addresses(columns.raw(COMMON + field, size)[rows].tobytes(), size)
            for row, text, port in zip(rows.tolist(), texts, ports[rows].tolist(), strict=True):
                end[row] = (text, port)
        ends.append(end)
    return ends[0], ends[1]


def _addresses(packed: bytes, size: int) -> list[str]:
    """Addresses of `size` bytes each, as text; most sockets share a few."""
    cells = [packed[at : at + size] for at in range(0, len(packed), size)]
    texts = {cell: address_text(cell) for cell in set(cells)}
    return [texts[cell] for cell in cells]


def address_text(packed: bytes) -> str:
    """An address of 4 or 16 bytes; one of IPv4 in IPv6 shows the former."""
    if packed.startswith(MAPPED) and len(packed) == 16:
        return f"::ffff:{ipaddress.IPv4Address(packed[12:])}"
    return str(ipaddress.ip_address(packed))
