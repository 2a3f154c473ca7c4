"""`vmon sockets`: who talks to whom. Reads the guest, changes nothing."""

from __future__ import annotations

from dataclasses import replace

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.output import View, output_option, repeat, watch_option, write_records
from vmon.core.records.process import SocketRecord

HEADER = ("PROTO", "STATE", "LOCAL", "REMOTE", "PID", "FD", "PROCESS")


@click.command()
@target_argument
@click.argument("pid", type=int, required=False)
@output_option
@watch_option
def sockets(target: str, pid: int | None, output: str, watch_s: float | None) -> None:
    """List the sockets of TARGET, or of its process PID."""
    view = VIEW if pid is None else replace(VIEW, nothing=f"process {pid} holds no socket")
    with attached(target) as vm:

        def once() -> None:
            records = vm.process(pid).sockets() if pid is not None else vm.sockets()
            write_records(records, output, view)

        repeat(watch_s, once)


def row(record: SocketRecord) -> tuple[object, ...]:
    """One line of the table."""
    if record.protocol:
        name = record.protocol + ("6" if record.family == "inet6" else "")
    else:
        name = f"{record.family} {record.type}"
    local = _endpoint(record.local_address, record.local_port) or record.path or None
    remote = _endpoint(record.remote_address, record.remote_port)
    return name, record.state, local, remote, record.pid, record.fd, record.process


def _endpoint(address: str, port: int | None) -> str | None:
    if not address:
        return None
    host = f"[{address}]" if ":" in address else address
    return f"{host}:{port or '*'}"


VIEW = View(SocketRecord, HEADER, row, "no process holds a socket")
