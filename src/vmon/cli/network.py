"""`vmon ports`, `interfaces`, `routes`, `neighbours`: the network of a guest. Reads the guest, changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click
import msgspec

from vmon.cli.attached import attached, target_argument
from vmon.cli.namespaces import all_namespaces_option, namespace_option
from vmon.cli.output import View, human_size, output_option, repeat, watch_option, write_records
from vmon.cli.sockets import endpoint, holder, protocol_name
from vmon.core.coverage import Answer
from vmon.core.records.network import InterfaceRecord, NeighbourRecord, PortRecord, RouteRecord

R = TypeVar("R", bound=msgspec.Struct)

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


INTERFACES = View(
    InterfaceRecord,
    (
        "INDEX",
        "NAME",
        "KIND",
        "STATE",
        "FLAGS",
        "MTU",
        "MAC",
        "MASTER",
        "ADDRESSES",
        "RX",
        "TX",
        "QDISC",
        "NETNS",
    ),
    lambda record: (
        record.index,
        record.name,
        record.kind or record.type,
        record.operstate,
        ",".join(record.flags),
        record.mtu,
        record.mac,
        record.master,
        ", ".join(f"{one.address}/{one.prefix_length}" for one in record.addresses) or None,
        human_size(record.rx_bytes),
        human_size(record.tx_bytes),
        record.qdisc,
        record.net_namespace,
    ),
    "the namespace has no interface",
)


ROUTES = View(
    RouteRecord,
    ("TABLE", "TYPE", "DESTINATION", "VIA", "DEV", "METRIC", "PROTO", "SCOPE", "SRC", "FLAGS", "NETNS"),
    lambda record: (
        record.table,
        record.type,
        "default"
        if not record.prefix_length and not record.source
        else f"{record.destination}/{record.prefix_length}"
        + (f" from {record.source}" if record.source else ""),
        record.gateway,
        record.interface,
        record.metric,
        record.protocol,
        record.scope,
        record.preferred_source,
        ",".join(record.flags) or None,
        record.net_namespace,
    ),
    "the namespace has no route",
)
NEIGHBOURS = View(
    NeighbourRecord,
    ("ADDRESS", "DEV", "MAC", "STATE", "FLAGS", "NETNS"),
    lambda record: (
        record.address,
        record.interface,
        record.mac,
        record.state,
        ",".join(record.flags) or None,
        record.net_namespace,
    ),
    "the namespace has no neighbour",
)


def _of_namespaces(name: str, text: str, view: View[R], ask: Callable[..., Answer[R]]) -> click.Command:
    """A command that shows the first namespace, another one, or all."""

    @click.command(name, help=text)
    @target_argument
    @namespace_option
    @all_namespaces_option
    @output_option
    @watch_option
    def command(target: str, namespace: int | None, every: bool, output: str, watch_s: float | None) -> None:
        with attached(target) as vm:
            repeat(
                watch_s,
                lambda: write_records(ask(vm, namespace=namespace, all_namespaces=every), output, view),
            )

    return command


FIRST = " Those of the guest's first network namespace; others are told as left out."
interfaces = _of_namespaces(
    "interfaces",
    "List the network interfaces of TARGET and their addresses." + FIRST,
    INTERFACES,
    lambda vm, **chosen: vm.interfaces(**chosen),
)
routes = _of_namespaces(
    "routes",
    "List the routes of TARGET, of all tables." + FIRST,
    ROUTES,
    lambda vm, **chosen: vm.routes(**chosen),
)
neighbours = _of_namespaces(
    "neighbours",
    "List the neighbours that TARGET knows on its links (ARP, NDP)." + FIRST,
    NEIGHBOURS,
    lambda vm, **chosen: vm.neighbours(**chosen),
)
