"""A unix socket is in a hash table from its making to its end; its peer is a pointer.

Reads the table's chains, unix_sock, unix_address. A hostile guest can bend chains (see chains.py) and write any name or
peer: names are cut, peers are only compared. A socket that closes meanwhile can be there with its peer gone.
Sources: include/net/af_unix.h, net/unix/af_unix.c.
"""

from __future__ import annotations

import numpy as np

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError
from vmon.kernel.columns import Column, unique
from vmon.kernel.profile import Wants
from vmon.linux.chains import read_heads, walk_chains
from vmon.linux.kernel import Kernel
from vmon.linux.net import Net
from vmon.linux.task import walk_list

AF_UNIX = 1
MAX_UNIX_NAME_BYTES = 110
TABLE_BUCKETS = 512
NODE = "__sk_common.skc_node"
FAMILY = "__sk_common.skc_family"
OWN_TABLE = "unx.table.buckets"
NAMELESS = (b"", 0)
MAX_QUEUED = 100_000
SOCK_DGRAM = 2
NAME_WANTS = Wants(
    structs={
        "sock": "sk_receive_queue",
        "sk_buff": "len cb",
        "unix_skb_parms": "consumed",
        "unix_sock": "addr peer path.mnt path.dentry",
        "unix_address": "len name",
    }
)
# One table for all namespaces until 6.0 (b6e811383062): each has its own since.
WANTS = NAME_WANTS | Wants(
    symbols=("unix_socket_table",), structs={"net": OWN_TABLE, "sock": f"{NODE} {FAMILY}"}
)


def find_unix_socks(kernel: Kernel, nets: list[Net], gaps: Gaps) -> Column:
    """Address of every unix sock of these namespaces; of all where this kernel has one table for all."""
    if kernel.profile.has("net", OWN_TABLE):
        own = kernel.read("net", OWN_TABLE, np.array([net.net for net in nets], dtype=np.uint64))[OWN_TABLE]
        tables = [table for table in unique(own).tolist() if table]
    elif kernel.has_symbol("unix_socket_table"):
        tables = [int(kernel.symbol("unix_socket_table"))]
    else:
        gaps.add("unix", "not on this kernel", "unix_socket_table")
        return np.zeros(0, dtype=np.uint64)
    heads = [read_heads(kernel, table, TABLE_BUCKETS, "unix", gaps) for table in tables]
    nodes = walk_chains(kernel, np.concatenate(heads), "unix", gaps) if heads else np.zeros(0, np.uint64)
    socks: Column = nodes - np.uint64(kernel.offset("sock", NODE))
    sane = kernel.read("sock", FAMILY, socks)[FAMILY] == AF_UNIX
    if not sane.all():
        gaps.add("unix", "torn", "entries that are no sockets", int((~sane).sum()))
    found: Column = socks[sane]
    return found


def read_unix(kernel: Kernel, sks: Column) -> dict[int, tuple[bytes, int]]:
    """Name and peer of each unix socket; unix_sock starts with its sock. An abstract name starts with a NUL."""
    if not sks.size:
        return {}
    columns = kernel.read("unix_sock", "addr peer", sks)
    result: dict[int, tuple[bytes, int]] = {}
    for sk, address, peer in zip(
        sks.tolist(), columns["addr"].tolist(), columns["peer"].tolist(), strict=True
    ):
        result[sk] = (_unix_name(kernel, address), peer)
    return result


def read_unix_queues(kernel: Kernel, sks: Column, kinds: Column) -> list[int | None]:
    """Bytes that wait to be read: of a datagram socket those of the next datagram. None where the queue breaks."""
    found: list[int | None] = []
    left = MAX_QUEUED
    for sk, kind in zip(sks.tolist(), kinds.tolist(), strict=True):
        try:
            head = Gva(sk + kernel.offset("sock", "sk_receive_queue"))
            buffers = np.array(walk_list(kernel, head, "sock.sk_receive_queue", left), dtype=np.uint64)
            left -= buffers.size
            if kind == SOCK_DGRAM:
                buffers = buffers[:1]
            places = buffers + np.uint64(kernel.offset("sk_buff", "cb"))
            consumed = kernel.read("unix_skb_parms", "consumed", places)["consumed"]
            lengths = kernel.read("sk_buff", "len", buffers)["len"]
        except GuestDataError:
            found.append(None)
            continue
        found.append(max(int(lengths.sum()) - int(consumed.sum()), 0))
    return found


def _unix_name(kernel: Kernel, address: int) -> bytes:
    """The path of a sockaddr_un: two bytes of family, then the name; abstract names keep their leading NUL."""
    if not address:
        return b""
    try:
        length = int(kernel.read_one("unix_address", "len", address)["len"][0]) & 0xFFFF_FFFF
        name = kernel.memory.read(
            Gva(address + kernel.offset("unix_address", "name")), min(length, MAX_UNIX_NAME_BYTES)
        )[2:]
    except GuestDataError:
        return b""
    return name if name.startswith(b"\0") else name.split(b"\0", 1)[0]
