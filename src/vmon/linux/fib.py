"""IPv4 routes are the aliases at the leaves of a trie of keys; a trie may hold several tables.

Reads fib_table, key_vector, fib_alias, fib_info, level by level, one gather each. A hostile guest can make the trie a
loop or a node as wide as it likes: levels, widths and nodes are bounded, and no node is gone through twice. When the
guest resizes a node meanwhile, routes under it can be missed. Sources: net/ipv4/fib_trie.c, include/net/ip_fib.h.
"""

from __future__ import annotations

import ipaddress

import numpy as np

from vmon.core.coverage import Gaps
from vmon.core.records.network import RouteRecord
from vmon.kernel.columns import Column, unique
from vmon.kernel.profile import Wants
from vmon.linux import nexthop
from vmon.linux.chains import read_heads, walk_chains, walk_chains_of
from vmon.linux.ifaddr import V4_SCOPES
from vmon.linux.kernel import Kernel
from vmon.linux.net import Net
from vmon.linux.socket import address_text

MAX_LEVELS = 64
MAX_WIDTH_BITS = 22
MAX_TRIE_NODES = 4_000_000
KEY_BITS = 32
BUCKETS = 256
FEW_BUCKETS = 2
"""Of a kernel without policy routing."""
TABLES = "ipv4.fib_table_hash"
INFO_FIELDS = "fib_protocol fib_scope fib_prefsrc fib_priority fib_nhs nh"
ALIAS_FIELDS = "fa_info fa_type fa_slen tb_id"
WANTS = nexthop.WANTS | Wants(
    structs={
        "net": f"{TABLES} ipv4.fib_main",
        "fib_table": "tb_hlist tb_data",
        "trie": "kv",
        "key_vector": "key pos bits leaf tnode",
        "fib_alias": f"fa_list {ALIAS_FIELDS}",
        "fib_info": f"{INFO_FIELDS} fib_nh",
        "fib_nh": "nh_common",
    }
)
MAX_TABLE = 1 << 32
TABLE_NAMES = {253: "default", 254: "main", 255: "local"}
TYPES = {
    0: "unspec", 1: "unicast", 2: "local", 3: "broadcast", 4: "anycast", 5: "multicast", 6: "blackhole",
    7: "unreachable", 8: "prohibit", 9: "throw", 10: "nat",
}  # fmt: skip
PROTOCOLS = {
    0: "unspec", 1: "redirect", 2: "kernel", 3: "boot", 4: "static", 8: "gated", 9: "ra", 10: "mrt", 11: "zebra",
    12: "bird", 13: "dnrouted", 14: "xorp", 15: "ntk", 16: "dhcp", 17: "mrouted", 18: "keepalived", 42: "babel",
    99: "openr", 186: "bgp", 187: "isis", 188: "ospf", 189: "rip", 192: "eigrp",
}  # fmt: skip


def find_routes(kernel: Kernel, net: Net, gaps: Gaps) -> list[RouteRecord]:
    """Every IPv4 route of a namespace, of all its tables."""
    keys, aliases = _find_aliases(kernel, net, gaps)
    columns = kernel.read("fib_alias", ALIAS_FIELDS, aliases)
    infos = columns["fa_info"]
    info = kernel.read("fib_info", INFO_FIELDS, infos)
    own = infos + np.uint64(kernel.offset("fib_info", "fib_nh") + kernel.offset("fib_nh", "nh_common"))
    counts, stride = info["fib_nhs"], kernel.profile["fib_nh"].size
    sources = info.raw("fib_prefsrc", 4)
    result = []
    for way, row in nexthop.find_ways(kernel, own, counts, stride, info["nh"], gaps):
        length = KEY_BITS - int(columns["fa_slen"][row])
        if length < 0:
            gaps.add("routes", "unreadable", "a prefix of more than 32 bits")
            continue
        table, kind = int(columns["tb_id"][row]), int(columns["fa_type"][row])
        scope, protocol = int(info["fib_scope"][row]), int(info["fib_protocol"][row])
        source = sources[row].tobytes()
        result.append(
            RouteRecord(
                family="inet",
                destination=address_text(
                    (int(keys[row]) >> KEY_BITS - length << KEY_BITS - length).to_bytes(4, "big")
                ),
                prefix_length=length,
                source=None,
                type=TYPES.get(kind, str(kind)),
                table=TABLE_NAMES.get(table, str(table)),
                gateway=way.gateway,
                interface=way.interface,
                weight=way.weight,
                metric=int(info["fib_priority"][row]),
                protocol=PROTOCOLS.get(protocol, str(protocol)),
                scope=V4_SCOPES.get(scope, str(scope)),
                preferred_source=address_text(source) if any(source) else None,
                flags=way.flags,
                net_namespace=net.inum,
            )
        )
    return result


def in_order(routes: list[RouteRecord]) -> list[RouteRecord]:
    """Routes by table (the main one first, the local one last), destination and metric."""
    last = {"main": -1, "local": MAX_TABLE}

    def key(route: RouteRecord) -> tuple[int, bytes, int, int]:
        table = last.get(route.table, int(route.table) if route.table.isdecimal() else 0)
        packed = ipaddress.ip_address(route.destination).packed
        return table, packed, route.prefix_length, route.metric

    return sorted(routes, key=key)


def _find_aliases(kernel: Kernel, net: Net, gaps: Gaps) -> tuple[Column, Column]:
    """The key and the address of every fib_alias."""
    hash_table = int(kernel.read_one("net", TABLES, net.net)[TABLES][0])
    many = kernel.profile.has("net", "ipv4.fib_main")
    heads = read_heads(kernel, hash_table, BUCKETS if many else FEW_BUCKETS, "routes", gaps)
    nodes = walk_chains(kernel, heads, "routes", gaps)
    tables = nodes - np.uint64(kernel.offset("fib_table", "tb_hlist"))
    # Until there is a rule, the local table is in the trie of the main one.
    tries = unique(kernel.read("fib_table", "tb_data", tables)["tb_data"])
    keys, leaves = _find_leaves(kernel, tries + np.uint64(kernel.offset("trie", "kv")), gaps)
    first = kernel.read("key_vector", "leaf", leaves)["leaf"]
    aliases, owners = walk_chains_of(kernel, first, "routes", gaps)
    return keys[owners.astype(np.int64)], aliases - np.uint64(kernel.offset("fib_alias", "fa_list"))


def _find_leaves(kernel: Kernel, roots: Column, gaps: Gaps) -> tuple[Column, Column]:
    """The key and the address of every leaf under these tries."""
    child = np.uint64(kernel.offset("key_vector", "tnode"))
    empty = np.zeros(0, dtype=np.uint64)
    keys, leaves = [empty], [empty]
    at, first, seen = roots, True, 0
    known: set[int] = set()
    for _ in range(MAX_LEVELS):
        fresh = np.array([node not in known for node in at.tolist()], dtype=bool)
        if not fresh.all():
            gaps.add("routes", "unreadable", "a trie that runs into itself", int((~fresh).sum()))
        at = at[fresh]
        at = at[kernel.memory.mapped(at)]
        known.update(at.tolist())
        if not at.size:
            break
        columns = kernel.read("key_vector", "key bits", at)
        bits = columns["bits"]
        # A root has one child and no bits.
        is_leaf = np.zeros(at.size, dtype=bool) if first else bits == 0
        keys.append(columns["key"][is_leaf])
        leaves.append(at[is_leaf])
        wide = bits > MAX_WIDTH_BITS
        if wide.any():
            gaps.add(
                "routes", "bounded", "a node of the trie that claims millions of children", int(wide.sum())
            )
        inner = ~is_leaf & ~wide
        widths = (np.uint64(1) << bits[inner]).astype(np.int64)
        seen += int(widths.sum())
        if seen > MAX_TRIE_NODES:
            gaps.add("routes", "bounded", f"a trie of more than {MAX_TRIE_NODES:,} places")
            break
        starts = np.repeat(at[inner] + child, widths)
        numbers = np.arange(starts.size) - np.repeat(np.cumsum(widths) - widths, widths)
        places = starts + np.uint64(8) * numbers.astype(np.uint64)
        at = unique(kernel.memory.gather(places, 8).view("<u8").reshape(-1).astype(np.uint64))
        at, first = at[at != 0], False
    else:
        gaps.add("routes", "bounded", f"a trie of more than {MAX_LEVELS} levels")
    return np.concatenate(keys), np.concatenate(leaves)
