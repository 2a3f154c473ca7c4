"""A network namespace is a struct net on net_namespace_list; the first of them is init_net.

Reads net: its inode number and where its own tables lie. A hostile guest can bend the list or take a namespace off it:
the walk is bounded, and init_net is always there. A namespace that is being made or torn down can be missed.
Sources: include/net/net_namespace.h, net/core/net_namespace.c.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError, UsageError
from vmon.kernel.columns import Column
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel, distinct
from vmon.linux.task import walk_list

MAX_NAMESPACES = 50_000
WANTS = Wants(
    symbols=("net_namespace_list", "init_net"),
    structs={"net": "list ns.inum"},
)


class Net(NamedTuple):
    """One network namespace."""

    net: int
    """Address of its struct net."""
    inum: int
    """Its inode number, as in /proc/PID/ns/net."""


def find_nets(kernel: Kernel, gaps: Gaps) -> list[Net]:
    """Every network namespace, the first of the guest first. BadStructure where this kernel has none of it."""
    offset = kernel.offset("net", "list")
    first = int(kernel.symbol("init_net"))
    found = [first]
    try:
        nodes = walk_list(kernel, kernel.symbol("net_namespace_list"), "net.list", MAX_NAMESPACES)
        found += [node - offset for node in nodes if node - offset != first]
    except GuestDataError as error:
        gaps.add("network namespaces", "unreadable", error.message)
    inums = kernel.read("net", "ns.inum", np.array(found, dtype=np.uint64))["ns.inum"].tolist()
    return [Net(*pair) for pair in zip(found, inums, strict=True)]


def choose_nets(nets: list[Net], namespace: int | None, every: bool, gaps: Gaps) -> list[Net]:
    """The namespace of that inode number; without one the first, the others told as left out, or every one.

    UsageError for a number that none has.
    """
    if namespace is not None:
        chosen = [net for net in nets if net.inum == namespace]
        if not chosen:
            raise UsageError(
                f"no network namespace {namespace} in the guest",
                hint="it has " + ", ".join(str(net.inum) for net in nets[:8]),
            )
        return chosen
    if every or len(nets) == 1:
        return nets
    rest = nets[1:]
    numbers = ", ".join(str(net.inum) for net in rest[:4]) + (", ..." if len(rest) > 4 else "")
    gaps.add("other network namespaces", "not looked for", numbers, len(rest))
    return nets[:1]


def read_inums(kernel: Kernel, nets: Column) -> dict[int, int]:
    """Inode number of each struct net, by its address; null is left out."""
    nets = distinct(nets)[0]
    inums = kernel.read("net", "ns.inum", nets)["ns.inum"]
    return dict(zip(nets.tolist(), inums.tolist(), strict=True))
