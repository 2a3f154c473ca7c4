"""The network of a guest: who listens, interfaces, routes, neighbours. Pure data."""

from __future__ import annotations

import msgspec


class PortRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One port that something listens at, and one process that does."""

    protocol: str
    """tcp, udp, udplite, sctp, mptcp."""
    family: str
    """inet or inet6."""
    address: str
    port: int
    interface: str | None
    """The only interface that it listens at; None for all."""
    pid: int | None
    """None where no process holds the socket: the kernel's own, or of a process that hides."""
    process: str | None
    uid: int | None
    """User of the process, of the socket where there is no process."""
    exe: str | None
    """None for a kernel thread, and where there is no process."""
    kernel: bool
    """The kernel made the socket for itself (MPTCP, WireGuard, NFS): no process need hold it."""
    net_namespace: int | None
    inode: int
    sock: int
    """Address of its struct sock."""
