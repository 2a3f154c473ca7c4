"""A netlink socket that has a port is in its protocol's rhashtable; a packet socket is on its namespace's list.

Reads netlink_table, netlink_sock, packet_sock. A hostile guest can bend tables and lists (see chains.py). Netlink
sockets that were never bound have no port and are in no table: /proc/net/netlink has them not either.
Sources: net/netlink/af_netlink.c, net/packet/internal.h, net/packet/af_packet.c.
"""

from __future__ import annotations

import numpy as np

from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError
from vmon.kernel.columns import Column
from vmon.kernel.profile import Wants
from vmon.linux.chains import WANTS as CHAIN_WANTS
from vmon.linux.chains import walk_chains, walk_rhashtables
from vmon.linux.kernel import Kernel
from vmon.linux.net import Net

AF_NETLINK, AF_PACKET = 16, 17
MAX_LINKS = 32
NODE = "__sk_common.skc_node"
FAMILY = "__sk_common.skc_family"
SKLIST = "packet.sklist"
SOCK_WANTS = Wants(structs={"netlink_sock": "portid", "packet_sock": "num ifindex"})
WANTS = (
    SOCK_WANTS
    | CHAIN_WANTS
    | Wants(
        symbols=("nl_table",),
        structs={
            "netlink_table": "hash",
            "netlink_sock": "node",
            "net": SKLIST,
            "sock": f"{NODE} {FAMILY}",
        },
    )
)


def find_netlink_socks(kernel: Kernel, gaps: Gaps) -> Column:
    """Address of every netlink sock that has a port, the kernel's own too, of all namespaces."""
    if not kernel.has_symbol("nl_table") or not kernel.profile.has("netlink_table", "hash"):
        gaps.add("netlink", "not on this kernel", "nl_table")
        return np.zeros(0, dtype=np.uint64)
    table = kernel.profile["netlink_table"]
    try:
        first = kernel.memory.u64(kernel.symbol("nl_table"))
    except GuestDataError as error:
        gaps.add("netlink", "unreadable", error.message)
        return np.zeros(0, dtype=np.uint64)
    tables = np.arange(MAX_LINKS, dtype=np.uint64) * np.uint64(table.size) + np.uint64(table.offset("hash"))
    tables += np.uint64(first)
    nodes = walk_rhashtables(kernel, tables, "netlink", gaps)
    socks = nodes - np.uint64(kernel.offset("netlink_sock", "node"))
    return _sane(kernel, socks, AF_NETLINK, "netlink", gaps)


def find_packet_socks(kernel: Kernel, nets: list[Net], gaps: Gaps) -> Column:
    """Address of every packet sock of these namespaces."""
    if not kernel.profile.has("net", SKLIST):
        gaps.add("packet", "not on this kernel", SKLIST)
        return np.zeros(0, dtype=np.uint64)
    heads = kernel.read("net", SKLIST, np.array([net.net for net in nets], dtype=np.uint64))[SKLIST]
    nodes = walk_chains(kernel, heads, "packet", gaps)
    return _sane(kernel, nodes - np.uint64(kernel.offset("sock", NODE)), AF_PACKET, "packet", gaps)


def _sane(kernel: Kernel, socks: Column, family: int, what: str, gaps: Gaps) -> Column:
    sane = kernel.read("sock", FAMILY, socks)[FAMILY] == family
    if not sane.all():
        gaps.add(what, "torn", "entries that are no sockets", int((~sane).sum()))
    found: Column = socks[sane]
    return found
