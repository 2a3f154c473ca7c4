"""A SocketRecord is a socket's state with what lies around it: its namespace, interface, and the process at its peer.

Reads the inode numbers of namespaces and of peers, and the names of interfaces, for many sockets at once. A hostile
guest decides what they are, not how many are read. Sources: net/unix/diag.c, include/net/sock.h.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vmon.core.coverage import Gaps
from vmon.core.records.process import SocketRecord
from vmon.core.text import guest_text
from vmon.linux.kernel import Kernel
from vmon.linux.net import read_inums
from vmon.linux.netdevice import NAME_WANTS, read_names
from vmon.linux.socket import WANTS as SOCKET_WANTS
from vmon.linux.socket import SocketState, read_sock_inodes

WANTS = SOCKET_WANTS | NAME_WANTS
Owner = tuple[int | None, int | None, str | None]
NOBODY: Owner = (None, None, None)


class SocketRecords:
    """Makes records of these sockets; `holders` says of a sock which process (pid, name) holds it."""

    def __init__(
        self, kernel: Kernel, states: Sequence[SocketState], holders: Mapping[int, tuple[int, str]]
    ) -> None:
        self._holders = holders
        self._inums = read_inums(kernel, np.array([state.net for state in states], dtype=np.uint64))
        peers = sorted({state.peer for state in states if state.peer})
        inodes = read_sock_inodes(kernel, np.array(peers, dtype=np.uint64))
        self._inodes = dict(zip(peers, inodes, strict=True))
        bound = {state.net for state in states if state.interface_index and state.net}
        self._names = {net: read_names(kernel, net, Gaps()) for net in bound}

    def record(
        self,
        state: SocketState,
        inode: int,
        owner: Owner = NOBODY,
        namespace: int | None = None,
    ) -> SocketRecord:
        """One socket; `namespace` is what it has where its own can't be read."""
        index = state.interface_index
        peer = self._holders.get(state.peer) if state.peer else None
        return SocketRecord(
            *owner,
            state.family,
            state.type,
            state.protocol,
            state.local_address,
            state.local_port,
            state.remote_address,
            state.remote_port,
            state.state,
            socket_path(state.path) if state.path else "",
            inode,
            self._inums.get(state.net, namespace),
            state.uid,
            state.rx_queue,
            state.tx_queue,
            self._inodes.get(state.peer),
            peer[0] if peer else None,
            peer[1] if peer else None,
            state.portid,
            self._names.get(state.net, {}).get(index, f"#{index}") if index else None,
            state.kernel,
            state.sock,
        )


def socket_path(name: bytes) -> str:
    """A unix socket's name for people: abstract names start with @, as in /proc/net/unix."""
    if name.startswith(b"\0"):
        return "@" + guest_text(name[1:]).replace("\0", "@")
    return guest_text(name)
