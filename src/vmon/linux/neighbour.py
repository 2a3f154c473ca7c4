"""A neighbour is in the hash table of its protocol: arp_tbl for IPv4, nd_tbl for IPv6, for all namespaces.

Reads neigh_table, neigh_hash_table, neighbour. A hostile guest can bend the chains (see chains.py). A table that is
replaced by a larger one meanwhile is read as it was. Sources: include/net/neighbour.h, net/core/neighbour.c.
"""

from __future__ import annotations

import numpy as np

from vmon.core.coverage import Gaps
from vmon.core.records.network import NeighbourRecord
from vmon.kernel.columns import Column
from vmon.kernel.profile import Wants
from vmon.linux.chains import read_heads, walk_chains
from vmon.linux.kernel import Kernel
from vmon.linux.net import Net
from vmon.linux.netdevice import MAX_MAC_BYTES, read_device_names
from vmon.linux.socket import address_text

MAX_SHIFT = 20
TABLES = (("inet", "arp_tbl", 4), ("inet6", "nd_tbl", 16))
FIELDS = "nud_state flags ha dev"
# hash_buckets and next until 6.13 (0e3bcb0f78a0, a01a67ab2fff): hlist_heads since.
WANTS = Wants(
    symbols=("arp_tbl", "nd_tbl"),
    structs={
        "neigh_table": "nht",
        "neigh_hash_table": "hash_heads|hash_buckets hash_shift",
        "neighbour": f"hash|next primary_key {FIELDS}",
        "net_device": "nd_net addr_len name",
    },
)
STATES = {
    0: "none", 1: "incomplete", 2: "reachable", 4: "stale", 8: "delay", 0x10: "probe", 0x20: "failed", 0x40: "noarp",
    0x80: "permanent",
}  # fmt: skip
WITHOUT_MAC = ("none", "incomplete", "failed")
FLAG_NAMES = ("use", "self", "master", "proxy", "extern_learn", "offloaded", "sticky", "router")
"""NTF_..., lowest bit first."""


def find_neighbours(kernel: Kernel, nets: list[Net], gaps: Gaps) -> list[NeighbourRecord]:
    """Every neighbour of these namespaces, IPv4 first."""
    numbers = {net.net: net.inum for net in nets}
    result: list[NeighbourRecord] = []
    for family, symbol, size in TABLES:
        if kernel.has_symbol(symbol):
            result += _records(kernel, _find(kernel, int(kernel.symbol(symbol)), gaps), family, size, numbers)
        else:
            gaps.add(f"{family} neighbours", "not on this kernel", symbol)
    return result


def _find(kernel: Kernel, table: int, gaps: Gaps) -> Column:
    hashes = int(kernel.read_one("neigh_table", "nht", table)["nht"][0])
    columns = kernel.read_one("neigh_hash_table", "hash_heads hash_shift", hashes)
    count = 1 << min(int(columns["hash_shift"][0]), MAX_SHIFT)
    heads = read_heads(kernel, int(columns["hash_heads"][0]), count, "neighbours", gaps)
    field = kernel.profile["neighbour"]["hash"]
    if field.spelling:
        return walk_chains(kernel, heads, "neighbours", gaps, link=field.offset)
    return walk_chains(kernel, heads, "neighbours", gaps) - np.uint64(field.offset)


def _records(
    kernel: Kernel, neighbours: Column, family: str, size: int, numbers: dict[int, int]
) -> list[NeighbourRecord]:
    columns = kernel.read("neighbour", FIELDS, neighbours)
    keys = kernel.memory.gather(neighbours + np.uint64(kernel.offset("neighbour", "primary_key")), size)
    devices = columns["dev"]
    device = kernel.read("net_device", "nd_net addr_len", devices)
    names = read_device_names(kernel, devices)
    macs = columns.raw("ha", MAX_MAC_BYTES)
    result = []
    for row, (net, length, state, flags) in enumerate(
        zip(
            device["nd_net"].tolist(),
            device["addr_len"].tolist(),
            columns["nud_state"].tolist(),
            columns["flags"].tolist(),
            strict=True,
        )
    ):
        if net not in numbers:
            continue
        word = STATES.get(state, str(state))
        known = length and word not in WITHOUT_MAC
        result.append(
            NeighbourRecord(
                family=family,
                address=address_text(keys[row].tobytes()),
                mac=macs[row, : min(length, MAX_MAC_BYTES)].tobytes().hex(":") if known else None,
                interface=names[row] or "",
                state=word,
                flags=[name for bit, name in enumerate(FLAG_NAMES) if flags >> bit & 1],
                net_namespace=numbers[net],
            )
        )
    return result
