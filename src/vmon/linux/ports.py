"""A port is listened at by a TCP socket in LISTEN, or by a UDP socket that is connected to nobody.

Pure: made of socket records. A socket that several processes hold is one port a process.
Sources: misc/ss.c of iproute2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vmon.core.records.network import PortRecord
from vmon.core.records.process import SocketRecord

WITHOUT_LISTEN = ("udp", "udplite")
WITH_LISTEN = ("tcp", "sctp", "mptcp")
Holder = tuple[int | None, str | None]
"""Uid and executable of a process."""


def listening(sockets: Iterable[SocketRecord], holder: Callable[[int], Holder]) -> list[PortRecord]:
    """Every port and process, lowest port first; `holder` tells of a process by its pid."""
    found: dict[tuple[int, int | None], PortRecord] = {}
    for socket in sockets:
        if not listens(socket) or (socket.sock, socket.pid) in found:
            continue
        uid, exe = holder(socket.pid) if socket.pid is not None else (socket.uid, None)
        found[socket.sock, socket.pid] = PortRecord(
            protocol=socket.protocol,
            family=socket.family,
            address=socket.local_address,
            port=socket.local_port or 0,
            interface=socket.interface,
            pid=socket.pid,
            process=socket.process,
            uid=uid,
            exe=exe,
            kernel=socket.kernel,
            net_namespace=socket.net_namespace,
            inode=socket.inode,
            sock=socket.sock,
        )
    return sorted(
        found.values(), key=lambda port: (port.protocol, port.port, port.family, port.address, port.pid or 0)
    )


def listens(socket: SocketRecord) -> bool:
    """Whether anybody can come to this socket."""
    if not socket.local_port:
        return False
    if socket.protocol in WITH_LISTEN:
        return socket.state == "LISTEN"
    return socket.protocol in WITHOUT_LISTEN and not socket.remote_port
