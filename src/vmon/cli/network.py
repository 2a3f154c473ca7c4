"""`vmon ports`: the network of a guest. Reads the guest, changes nothing."""

from __future__ import annotations

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.namespaces import namespace_option
from vmon.cli.output import View, output_option, repeat, watch_option, write_records
from vmon.cli.sockets import endpoint, holder, protocol_name
from vmon.core.records.network import PortRecord

PORTS = View(
    PortRecord,
    ("PROTO", "LOCAL", "NETNS", "PID", "PROCESS", "UID", "EXE"),
    lambda record: (
        protocol_name(record.protocol, record.family),
        (endpoint(record.address, record.port) or "") + (f"%{record.interface}" if record.interface else ""),
        record.net_namespace,
        record.pid,
        holder(record),
        record.uid,
        record.exe,
    ),
    "nothing listens",
)


@click.command()
@target_argument
@namespace_option
@output_option
@watch_option
def ports(target: str, namespace: int | None, output: str, watch_s: float | None) -> None:
    """List the ports that something in TARGET listens at, with the processes that do.

    A socket that no process holds is shown as such: the kernel's own, or of a process that hides. All network
    namespaces are looked at.
    """
    with attached(target) as vm:
        repeat(watch_s, lambda: write_records(vm.ports(namespace=namespace), output, PORTS))
