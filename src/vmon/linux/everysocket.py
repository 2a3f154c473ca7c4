"""Every socket of the kernel is in a table of its family, whether or not a process holds it.

Reads the tables of TCP, UDP, raw, ping, unix, netlink and packet sockets, and of each socket what read_socks() tells.
A hostile guest can take a socket out of a table that a process holds: such a one is there all the same, because both
are joined. One that no process holds and no table has, is not found. Sockets that come or go meanwhile can be missed.
Sources: as in inet.py, unix.py, netlink.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vmon.core.coverage import Gaps
from vmon.core.records.process import SocketRecord
from vmon.kernel.columns import Column, unique
from vmon.linux import inet, net, netlink, socket, unix
from vmon.linux.kernel import Kernel
from vmon.linux.net import Net
from vmon.linux.socket import is_minisock, read_minisocks, read_sock_inodes, read_socks
from vmon.linux.socketrecord import SocketRecords

WANTS = net.WANTS | inet.WANTS | unix.WANTS | netlink.WANTS | socket.WANTS
OTHERS = "sockets of other families (vsock, sctp, mptcp...) that no process holds"


def find_socks(kernel: Kernel, nets: list[Net], gaps: Gaps) -> tuple[Column, Column]:
    """Addresses of every full sock that a table has, and of every TIME_WAIT and request of TCP."""
    tables = inet.find_inet_socks(kernel, nets, gaps)
    connected = tables.pop(inet.TCP, inet.NO_SOCKS)
    small = is_minisock(kernel, connected)
    parts = [connected[~small], *tables.values()]
    parts.append(unix.find_unix_socks(kernel, nets, gaps))
    parts.append(netlink.find_netlink_socks(kernel, gaps))
    parts.append(netlink.find_packet_socks(kernel, nets, gaps))
    return unique(np.concatenate(parts)), unique(connected[small])


def find_every_socket(
    kernel: Kernel, held: Sequence[SocketRecord], nets: list[Net], gaps: Gaps
) -> list[SocketRecord]:
    """Sockets that processes hold, as they are given, then all others of the namespaces `nets`."""
    return join_held(kernel, held, nets, gaps, *find_socks(kernel, nets, gaps))


def join_held(
    kernel: Kernel, held: Sequence[SocketRecord], nets: list[Net], gaps: Gaps, full: Column, small: Column
) -> list[SocketRecord]:
    """The same, of what find_socks() found."""
    gaps.add(OTHERS, "not looked for", count=0)
    known = np.array([record.sock for record in held], dtype=np.uint64)
    full = full[~np.isin(full, known)]
    states = [*read_socks(kernel, full), *read_minisocks(kernel, small)]
    wanted = {net.net for net in nets}
    inodes = [*read_sock_inodes(kernel, full), *[0] * small.size]
    holders = {
        record.sock: (record.pid, record.process)
        for record in reversed(held)
        if record.pid is not None and record.process is not None
    }
    described = SocketRecords(kernel, states, holders)
    numbers = {net.inum for net in nets}
    return [record for record in held if record.net_namespace in numbers] + [
        described.record(state, inode)
        for state, inode in zip(states, inodes, strict=True)
        if state.net in wanted
    ]
