"""IPv6 routes hang on the nodes of a binary tree of prefixes, one tree a table.

Reads fib6_table, fib6_node, fib6_info, level by level. A hostile guest can make the tree a loop: levels and nodes are
bounded, and no node is gone through twice. Routes that come and go meanwhile can be missed.
Sources: net/ipv6/ip6_fib.c, include/net/ip6_fib.h.
"""

from __future__ import annotations

import numpy as np

from vmon.core.coverage import Gaps
from vmon.core.records.network import RouteRecord
from vmon.kernel.columns import Column
from vmon.kernel.profile import Wants
from vmon.linux import nexthop
from vmon.linux.chains import read_heads, walk_chains, walk_chains_of
from vmon.linux.fib import BUCKETS, PROTOCOLS, TABLE_NAMES, TYPES
from vmon.linux.kernel import Kernel
from vmon.linux.net import Net
from vmon.linux.socket import address_text

MAX_LEVELS = 300
MAX_NODES = 2_000_000
RTN_RTINFO = 4
TABLES, NULL_ENTRY = "ipv6.fib_table_hash", "ipv6.fib6_null_entry"
INFO_FIELDS = (
    "fib6_dst.addr fib6_dst.plen fib6_src.addr fib6_src.plen fib6_prefsrc.addr "  # where from and to
    "fib6_metric fib6_protocol fib6_type nh"
)
NODE_FIELDS = "left right subtree leaf fn_flags"
# A kernel without subtrees has neither subtree nor fib6_src.
WANTS = nexthop.WANTS | Wants(
    structs={
        "net": f"{TABLES} {NULL_ENTRY}",
        "netns_ipv6": "fib6_local_tbl",
        "fib6_table": "tb6_hlist tb6_id tb6_root",
        "fib6_node": NODE_FIELDS,
        "fib6_info": f"fib6_next {INFO_FIELDS} fib6_nh",
        "fib6_nh": "nh_common",
    }
)


def find_routes6(kernel: Kernel, net: Net, gaps: Gaps) -> list[RouteRecord]:
    """Every IPv6 route of a namespace, of all its tables."""
    if not kernel.profile.has("net", TABLES):
        gaps.add("IPv6 routes", "not on this kernel", TABLES)
        return []
    columns = kernel.read_one("net", f"{TABLES} {NULL_ENTRY}", net.net)
    # Only a kernel with policy routing has a table of its own for local routes.
    many = kernel.profile.has("netns_ipv6", "fib6_local_tbl")
    heads = read_heads(kernel, int(columns[TABLES][0]), BUCKETS if many else 1, "IPv6 routes", gaps)
    tables = walk_chains(kernel, heads, "IPv6 routes", gaps) - np.uint64(
        kernel.offset("fib6_table", "tb6_hlist")
    )
    numbers = kernel.read("fib6_table", "tb6_id", tables)["tb6_id"]
    roots = tables + np.uint64(kernel.offset("fib6_table", "tb6_root"))
    leaves, of_table = _find_leaves(kernel, roots, gaps)
    # What a root has where there is no route, the same for all tables.
    real = leaves != columns[NULL_ENTRY][0]
    leaves, of_table = leaves[real], of_table[real]
    link = kernel.offset("fib6_info", "fib6_next")
    infos, owners = walk_chains_of(kernel, leaves, "IPv6 routes", gaps, link=link)
    ids = numbers[of_table[owners.astype(np.int64)].astype(np.int64)]
    return _records(kernel, infos, ids.tolist(), net, gaps)


def _records(kernel: Kernel, infos: Column, tables: list[int], net: Net, gaps: Gaps) -> list[RouteRecord]:
    columns = kernel.read("fib6_info", INFO_FIELDS, infos)
    own = infos + np.uint64(kernel.offset("fib6_info", "fib6_nh") + kernel.offset("fib6_nh", "nh_common"))
    ones = np.ones(len(infos), dtype=np.uint64)
    result = []
    for way, row in nexthop.find_ways(kernel, own, ones, 0, columns["nh"], gaps):
        protocol, kind = int(columns["fib6_protocol"][row]), int(columns["fib6_type"][row])
        source = None
        if "fib6_src.plen" in columns and columns["fib6_src.plen"][row]:
            text = address_text(columns.raw("fib6_src.addr", 16)[row].tobytes())
            source = f"{text}/{int(columns['fib6_src.plen'][row])}"
        preferred = columns.raw("fib6_prefsrc.addr", 16)[row].tobytes()
        result.append(
            RouteRecord(
                family="inet6",
                destination=address_text(columns.raw("fib6_dst.addr", 16)[row].tobytes()),
                prefix_length=int(columns["fib6_dst.plen"][row]),
                source=source,
                type=TYPES.get(kind, str(kind)),
                table=TABLE_NAMES.get(tables[row], str(tables[row])),
                gateway=way.gateway,
                interface=way.interface,
                weight=way.weight,
                metric=int(columns["fib6_metric"][row]),
                protocol=PROTOCOLS.get(protocol, str(protocol)),
                scope=None,
                preferred_source=address_text(preferred) if any(preferred) else None,
                flags=way.flags,
                net_namespace=net.inum,
            )
        )
    return result


def _find_leaves(kernel: Kernel, roots: Column, gaps: Gaps) -> tuple[Column, Column]:
    """The first route at each node that has any, and which root each node is under."""
    empty = np.zeros(0, dtype=np.uint64)
    leaves, tables = [empty], [empty]
    at, of = roots, np.arange(roots.size, dtype=np.uint64)
    known: set[int] = set()
    for _ in range(MAX_LEVELS):
        fresh = np.zeros(at.size, dtype=bool)
        for row, node in enumerate(at.tolist()):
            fresh[row] = node not in known
            known.add(node)
        if not fresh.all():
            gaps.add("IPv6 routes", "unreadable", "a tree that runs into itself", int((~fresh).sum()))
        fresh &= kernel.memory.mapped(at)
        at, of = at[fresh], of[fresh]
        if not at.size:
            break
        if len(known) > MAX_NODES:
            gaps.add("IPv6 routes", "bounded", f"more than {MAX_NODES:,} nodes")
            break
        columns = kernel.read("fib6_node", NODE_FIELDS, at)
        # A node between others has a pointer to a route of one below it.
        real = (columns["fn_flags"] & np.uint64(RTN_RTINFO)) != 0
        leaves.append(columns["leaf"][real])
        tables.append(of[real])
        branches = [columns[name] for name in ("left", "right", "subtree") if name in columns]
        at, of = np.concatenate(branches), np.tile(of, len(branches))
        at, of = at[at != 0], of[at != 0]
    else:
        gaps.add("IPv6 routes", "bounded", f"a tree of more than {MAX_LEVELS} levels")
    return np.concatenate(leaves), np.concatenate(tables)
