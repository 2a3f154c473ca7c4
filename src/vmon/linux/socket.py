"""A socket is a file whose private data is struct socket; its sk says addresses, ports and state.

Reads socket, sock, unix_sock, unix_address. A hostile guest can write any address; lengths are bounded and numbers
are shown as they are. Only sockets that a process holds are found; TIME_WAIT and kernel sockets have no holder.
Sources: include/net/sock.h, include/net/af_unix.h, net/ipv4/tcp_ipv4.c, net/unix/af_unix.c.
"""

from __future__ import annotations

import ipaddress

import msgspec
import numpy as np

from vmon.core.address import Gva
from vmon.core.errors import GuestDataError
from vmon.kernel.columns import Column, Columns, unique
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET = 1, 2, 10, 16, 17
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
MAX_UNIX_NAME_BYTES = 110

COMMON = "__sk_common."
COMMON_FIELDS = "skc_family skc_state skc_num skc_dport skc_daddr skc_rcv_saddr skc_v6_daddr skc_v6_rcv_saddr"
SOCK_FIELDS = " ".join([*(COMMON + name for name in COMMON_FIELDS.split()), "sk_protocol", "sk_type"])
WANTS = Wants(
    structs={
        "socket": "state type sk",
        "sock": SOCK_FIELDS,
        "unix_sock": "addr peer path.mnt path.dentry",
        "unix_address": "len name",
        "netlink_sock": "portid",
    }
)


class SocketState(msgspec.Struct, frozen=True, gc=False):
    """One socket: who talks to whom."""

    family: str
    type: str
    protocol: str
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


def read_sockets(kernel: Kernel, sockets: Column) -> dict[int, SocketState]:
    """State of each struct socket, by its address. A socket that is being torn down has no sk and is left out."""
    sockets = unique(sockets)
    sockets = sockets[sockets != 0]
    sks = kernel.read("socket", "sk", sockets)["sk"]
    sockets, sks = sockets[sks != 0], sks[sks != 0]
    columns = kernel.read("sock", SOCK_FIELDS, sks)
    families = columns[COMMON + "skc_family"]
    unix = _read_unix(kernel, sks[families == AF_UNIX])
    local, remote = _endpoints(columns, families)
    # Thousands of sockets are of a handful of kinds.
    kinds: dict[tuple[int, ...], tuple[str, str, str, str]] = {}
    rows = zip(
        families.tolist(),
        columns["sk_type"].tolist(),
        columns["sk_protocol"].tolist(),
        columns[COMMON + "skc_state"].tolist(),
        strict=True,
    )
    result: dict[int, SocketState] = {}
    for socket, sk, kind, here, there in zip(
        sockets.tolist(), sks.tolist(), rows, local, remote, strict=True
    ):
        words = kinds.get(kind) or kinds.setdefault(kind, _words(*kind))
        path, peer = unix.get(sk, NAMELESS)
        result[socket] = SocketState(*words, *here, *there, path, peer, sk)
    return result


def _words(family: int, kind: int, protocol: int, state: int) -> tuple[str, str, str, str]:
    """What a socket is, in words: family, type, protocol, state."""
    internet = family in (AF_INET, AF_INET6)
    return (
        FAMILY_NAMES.get(family, str(family)),
        TYPE_NAMES.get(kind, str(kind)),
        PROTOCOL_NAMES.get(protocol, str(protocol)) if internet else "",
        _state_name(state, internet and protocol in CONNECTION_PROTOCOLS),
    )


def _state_name(state: int, connection: bool) -> str:
    if connection:
        return TCP_STATES.get(state, str(state))
    return TCP_STATES[state] if state in (1, 10) else "NONE"


Endpoint = tuple[str, int | None]
NOWHERE: Endpoint = ("", None)
NAMELESS = (b"", 0)


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
    texts = {cell: str(ipaddress.ip_address(cell)) for cell in set(cells)}
    return [texts[cell] for cell in cells]


def _read_unix(kernel: Kernel, sks: Column) -> dict[int, tuple[bytes, int]]:
    """Name and peer of each unix socket; unix_sock starts with its sock."""
    if not sks.size:
        return {}
    columns = kernel.read("unix_sock", "addr peer", sks)
    result: dict[int, tuple[bytes, int]] = {}
    for sk, address, peer in zip(
        sks.tolist(), columns["addr"].tolist(), columns["peer"].tolist(), strict=True
    ):
        result[sk] = (_unix_name(kernel, address), peer)
    return result


def _unix_name(kernel: Kernel, address: int) -> bytes:
    """The path of a sockaddr_un: two bytes of family, then the name; abstract names keep their leading NUL."""
    if not address:
        return b""
    try:
        length = int(kernel.read_one("unix_address", "len", address)["len"][0]) & 0xFFFF_FFFF
        name = kernel.memory.read(
            Gva(address + kernel.offset("unix_address", "name")), min(length, MAX_UNIX_NAME_BYTES)
        )[2:]
    except GuestDataError:
        return b""
    return name if name.startswith(b"\0") else name.split(b"\0", 1)[0]
