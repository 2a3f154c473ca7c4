"""A socket that listens or is connected is in the kernel's tables, and somebody holds it: a process, or the kernel.

Reads the tables that /proc/net and ss show, and the sockets that processes hold, and compares. A guest that connects
and closes meanwhile makes them differ for a moment. A hostile guest can take a socket off the tables and still receive
on it only what was connected before. Sources: net/ipv4/inet_hashtables.c, net/ipv4/udp.c, net/ipv4/raw.c.
"""

from __future__ import annotations

from collections.abc import Hashable

from vmon.check.kinds import finding
from vmon.check.looks import settled
from vmon.core.coverage import Gaps
from vmon.core.records.finding import FindingRecord
from vmon.core.records.process import SocketRecord
from vmon.linux import everysocket, net, snapshot
from vmon.linux.kernel import Kernel
from vmon.linux.snapshot import Snapshot

WANTS = snapshot.WANTS | everysocket.WANTS
UNHASHED = ("CLOSE", "NONE")


def check_sockets(kernel: Kernel, gaps: Gaps) -> list[FindingRecord]:
    """Sockets that are held and in no table, or listen and are nobody's. 10 to 20 ms for a small guest."""
    return settled(lambda seen: _look(kernel, seen), gaps)


def _look(kernel: Kernel, gaps: Gaps) -> dict[Hashable, FindingRecord]:
    processes = Snapshot.of_all(kernel)
    held = [record for records in processes.sockets for record in records]
    nets = net.find_nets(kernel, gaps)
    full, small = everysocket.find_socks(kernel, nets, gaps)
    in_tables = {*full.tolist(), *small.tolist()}
    found: dict[Hashable, FindingRecord] = {}
    for record in held:
        if record.sock not in in_tables and _belongs_there(record):
            evidence = [
                f"sock at {record.sock:#x}, descriptor {record.fd} of process {record.pid}, inode {record.inode}",
                f"NOT in: the kernel's tables of {record.protocol or record.family} sockets",
            ]
            subject = f"{_name(record)}, held by process {record.pid} ({record.process}),"
            key = ("socket.hidden", record.sock, record.inode)
            found[key] = finding("socket.hidden", subject, evidence, pid=record.pid, address=record.sock)
    for record in everysocket.join_held(kernel, held, nets, Gaps(), full, small):
        if record.pid is None and not record.kernel and record.state == "LISTEN" and record.protocol:
            evidence = [
                f"sock at {record.sock:#x} in the tables, inode {record.inode}",
                "NOT held by any process",
            ]
            key = ("socket.nobody", record.sock, record.inode)
            found[key] = finding("socket.nobody", _name(record), evidence, address=record.sock)
    return found


def _belongs_there(record: SocketRecord) -> bool:
    """Whether a socket that is held must be in a table: TCP that is bound to a peer or listens, UDP that has a port."""
    if record.protocol == "tcp":
        return record.state not in UNHASHED
    return record.protocol == "udp" and bool(record.local_port)


def _name(record: SocketRecord) -> str:
    ends = f"{record.local_address}:{record.local_port}"
    if record.remote_port:
        ends += f" to {record.remote_address}:{record.remote_port}"
    return f"{record.protocol} {record.state} {ends}"
