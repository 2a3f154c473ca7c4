"""`vmon sockets`: who talks to whom. Reads the guest, changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.namespaces import namespace_option
from vmon.cli.output import View, output_option, repeat, watch_option, write_records
from vmon.core.errors import UsageError
from vmon.core.records.network import PortRecord
from vmon.core.records.process import SocketRecord

HEADER = ("PROTO", "STATE", "LOCAL", "REMOTE", "PID", "FD", "PROCESS")
NOBODY, OF_KERNEL = "(no process)", "(kernel)"


@click.command()
@target_argument
@click.argument("pid", type=int, required=False)
@click.option("-a", "--all", "every", is_flag=True, help="Those too that no process holds.")
@namespace_option
@output_option
@watch_option
def sockets(
    target: str, pid: int | None, every: bool, namespace: int | None, output: str, watch_s: float | None
) -> None:
    """List the sockets of TARGET, or of its process PID."""
    if pid is not None and (every or namespace is not None):
        raise UsageError("--all and --namespace are for a whole guest, not for one process")
    view = VIEW if pid is None else replace(VIEW, nothing=f"process {pid} holds no socket")
    with attached(target) as vm:

        def once() -> None:
            records: Sequence[SocketRecord] = vm.sockets(all=every, namespace=namespace)
            if pid is not None:
                vm.process(pid)
                # Of all: only so it is known who holds the other ends.
                records = [record for record in records if record.pid == pid]
            write_records(records, output, view)

        repeat(watch_s, once)


def row(record: SocketRecord) -> tuple[object, ...]:
    """One line of the table."""
    local = endpoint(record.local_address, record.local_port) or record.path or None
    remote = endpoint(record.remote_address, record.remote_port) or _other_end(record)
    if record.family in ("netlink", "packet"):
        # What it is bound to: a port, an interface.
        local = record.interface or (None if record.portid is None else str(record.portid))
    return (_name(record), record.state, local, remote, record.pid, record.fd, holder(record))


def holder(record: SocketRecord | PortRecord) -> str | None:
    """The process that holds a socket; else whether the kernel made it for itself.

    None for what nobody can hold: TIME_WAIT, a connection that is not accepted yet, one that its process has closed.
    """
    if record.pid is None:
        return OF_KERNEL if record.kernel else NOBODY if record.inode else None
    return record.process or ""


def protocol_name(protocol: str, family: str) -> str:
    """As netstat: tcp, or tcp6 where it is IPv6."""
    return protocol + ("6" if family == "inet6" and not protocol.endswith("v6") else "")


def _name(record: SocketRecord) -> str:
    if record.family in ("inet", "inet6"):
        return protocol_name(record.protocol, record.family)
    return f"{record.family} {record.protocol or record.type}"


def _other_end(record: SocketRecord) -> str | None:
    if record.peer_inode is None:
        return None
    who = f" {record.peer_process}[{record.peer_pid}]" if record.peer_process is not None else ""
    return f"{record.peer_inode or '?'}{who}"


def endpoint(address: str, port: int | None) -> str | None:
    """Address and port as people write them; None for no address."""
    if not address:
        return None
    host = f"[{address}]" if ":" in address else address
    return f"{host}:{port or '*'}"


VIEW = View(SocketRecord, HEADER, row, "no process holds a socket")
