"""TCP, UDP, raw and ping sockets hang in hash tables, which hold them whether or not a process does.

Reads inet_hashinfo, udp_table, raw_hashinfo, ping_table, and the head that every socket has. Besides full sockets TCP's
table has what is left of closed connections (TIME_WAIT) and what is not yet one (NEW_SYN_RECV): smaller structures that
begin alike. A hostile guest can bend every chain (see chains.py) or take a socket out of a table: `vmon check` compares
with what processes hold. Sockets that move meanwhile can be missed, and a torn table is told.
Sources: include/net/inet_hashtables.h, include/net/inet_timewait_sock.h, include/net/udp.h, include/net/raw.h.
"""

from __future__ import annotations

import numpy as np

from vmon.core.coverage import Gaps
from vmon.kernel.columns import Column, unique
from vmon.kernel.profile import Wants
from vmon.linux.chains import MAX_BUCKETS, read_heads, walk_chains
from vmon.linux.kernel import Kernel
from vmon.linux.net import Net

LISTENING_NULLS_BASE = 1 << 29
AF_INET, AF_INET6 = 2, 10
NODE = "__sk_common.skc_nulls_node"
FAMILY = "__sk_common.skc_family"
NO_SOCKS = np.zeros(0, dtype=np.uint64)
# listening_hash went in 5.19 (cae3873c5b3a): until then lhash2 was a second list of some of the same sockets.
HASHINFO_FIELDS = "ehash ehash_mask lhash2 lhash2_mask listening_hash"
# A namespace can have tables of its own since 6.1 (d1e5e6408b30) and 6.2 (9804985bf27f).
# udplite_table went in 7.1, raw_hashinfo got spinlock and alignment in 6.0: ht moved.
WANTS = Wants(
    symbols=(
        "tcp_hashinfo",
        "udp_table",
        "udplite_table",
        "raw_v4_hashinfo",
        "raw_v6_hashinfo",
        "ping_table",
    ),
    structs={
        "net": "ipv4.tcp_death_row.hashinfo ipv4.udp_table",
        "inet_hashinfo": HASHINFO_FIELDS,
        "inet_ehash_bucket": "chain",
        "inet_listen_hashbucket": "nulls_head",
        "udp_table": "hash mask",
        "udp_hslot": "head",
        "raw_hashinfo": "ht",
        "ping_table": "hash",
        "sock": f"{NODE} {FAMILY}",
    },
)
TCP, TCP_LISTENING, UDP, UDPLITE = "tcp", "tcp listening", "udp", "udplite"
FLAT = {"raw": ("raw_v4_hashinfo", "raw_hashinfo", "ht"), "raw6": ("raw_v6_hashinfo", "raw_hashinfo", "ht")}
PING = {"ping": ("ping_table", "ping_table", "hash")}


def find_inet_socks(kernel: Kernel, nets: list[Net], gaps: Gaps) -> dict[str, Column]:
    """Addresses of every sock in each table: tcp, tcp listening, udp, udplite, raw, raw6, ping.

    Those of "tcp" can be inet_timewait_sock and inet_request_sock: their state says so. Namespaces other than `nets`
    are there too where they share a table. A table that this kernel has not is told, and has no entry.
    """
    found: dict[str, Column] = {}
    tables = _tables(kernel, nets, "tcp_hashinfo", "ipv4.tcp_death_row.hashinfo", gaps)
    if tables is not None:
        found[TCP], found[TCP_LISTENING] = _tcp(kernel, tables, gaps)
    for name, symbol, field in ((UDP, "udp_table", "ipv4.udp_table"), (UDPLITE, "udplite_table", "")):
        tables = _tables(kernel, nets, symbol, field, gaps)
        if tables is not None:
            found[name] = _udp(kernel, tables, name, gaps)
    for name, (symbol, struct, field) in {**FLAT, **PING}.items():
        if not kernel.has_symbol(symbol) or not kernel.profile.has(struct, field):
            gaps.add(name, "not on this kernel", symbol)
            continue
        layout = kernel.profile[struct][field]
        gva = kernel.symbol(symbol) + layout.offset
        heads = read_heads(kernel, gva, layout.size // 8, name, gaps)
        found[name] = _socks(kernel, walk_chains(kernel, heads, name, gaps), name, gaps)
    return found


def _tables(kernel: Kernel, nets: list[Net], symbol: str, field: str, gaps: Gaps) -> list[int] | None:
    """The table that all namespaces share, and those that single ones have; None where there is none."""
    tables = [int(kernel.symbol(symbol))] if kernel.has_symbol(symbol) else []
    if field and kernel.profile.has("net", field):
        own = kernel.read("net", field, np.array([net.net for net in nets], dtype=np.uint64))[field]
        tables += [table for table in unique(own).tolist() if table and table not in tables]
    if not tables and symbol != "udplite_table":
        gaps.add(symbol.partition("_")[0], "not on this kernel", symbol)
    return tables or None


def _tcp(kernel: Kernel, tables: list[int], gaps: Gaps) -> tuple[Column, Column]:
    columns = kernel.read("inet_hashinfo", HASHINFO_FIELDS, np.array(tables, dtype=np.uint64))
    stride, bucket = kernel.profile["inet_ehash_bucket"].size, kernel.profile["inet_listen_hashbucket"]
    connected, listening = [], []
    left = left_listening = MAX_BUCKETS
    for row, table in enumerate(tables):
        gva, count = int(columns["ehash"][row]), int(columns["ehash_mask"][row]) + 1
        heads = read_heads(kernel, gva, count, TCP, gaps, stride, left)
        left -= count
        connected.append(walk_chains(kernel, heads, TCP, gaps, 0))
        if "listening_hash" in columns:
            field = kernel.profile["inet_hashinfo"]["listening_hash"]
            gva, count = table + field.offset, field.count
        else:
            gva, count = int(columns["lhash2"][row]), int(columns["lhash2_mask"][row]) + 1
        gva += bucket.offset("nulls_head")
        heads = read_heads(kernel, gva, count, TCP_LISTENING, gaps, bucket.size, left_listening)
        left_listening -= count
        listening.append(walk_chains(kernel, heads, TCP_LISTENING, gaps, LISTENING_NULLS_BASE))
    return (
        _socks(kernel, _joined(connected), TCP, gaps),
        _socks(kernel, _joined(listening), TCP_LISTENING, gaps),
    )


def _udp(kernel: Kernel, tables: list[int], name: str, gaps: Gaps) -> Column:
    columns = kernel.read("udp_table", "hash mask", np.array(tables, dtype=np.uint64))
    slot = kernel.profile["udp_hslot"]
    found, left = [], MAX_BUCKETS
    for table, mask in zip(columns["hash"].tolist(), columns["mask"].tolist(), strict=True):
        heads = read_heads(kernel, table + slot.offset("head"), mask + 1, name, gaps, slot.size, left)
        left -= mask + 1
        found.append(walk_chains(kernel, heads, name, gaps))
    return _socks(kernel, _joined(found), name, gaps)


def _joined(parts: list[Column]) -> Column:
    return np.concatenate(parts) if parts else NO_SOCKS


def _socks(kernel: Kernel, nodes: Column, what: str, gaps: Gaps) -> Column:
    """From the nodes in the chains to the socks that they are in; those of another family are none."""
    socks: Column = nodes - np.uint64(kernel.offset("sock", NODE))
    families = kernel.read("sock", FAMILY, socks)[FAMILY]
    sane = (families == AF_INET) | (families == AF_INET6)
    if not sane.all():
        gaps.add(what, "torn", "entries that are no sockets", int((~sane).sum()))
    found: Column = socks[sane]
    return found
