"""The addresses of an interface hang on its in_device (IPv4) and its inet6_dev (IPv6).

Reads in_ifaddr, inet6_ifaddr. A hostile guest can bend both lists: chains are bounded and told no node twice. Addresses
that come and go meanwhile can be missed.
Sources: include/linux/inetdevice.h, include/net/if_inet6.h, net/ipv4/devinet.c, net/ipv6/addrconf.c.
"""

from __future__ import annotations

import numpy as np

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError
from vmon.core.records.network import AddressRecord
from vmon.core.text import guest_text
from vmon.kernel.columns import Column, text_rows
from vmon.kernel.profile import Wants
from vmon.linux.chains import walk_chains
from vmon.linux.kernel import Kernel
from vmon.linux.socket import address_text
from vmon.linux.task import walk_list

MAX_ADDRESSES = 100_000
V4_FIELDS = "ifa_dev ifa_local ifa_address ifa_prefixlen ifa_scope ifa_flags ifa_label"
V6_FIELDS = "addr peer_addr prefix_len scope flags"
WANTS = Wants(
    structs={
        "in_device": "ifa_list",
        "in_ifaddr": "ifa_next " + V4_FIELDS,
        "inet6_dev": "addr_list",
        "inet6_ifaddr": "if_list " + V6_FIELDS,
    }
)
V4_SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
V6_SCOPES = {0: "global", 0x10: "host", 0x20: "link", 0x40: "site"}
FLAG_NAMES = (
    "secondary", "nodad", "optimistic", "dadfailed", "home", "deprecated", "tentative", "permanent", "mngtmpaddr",
    "noprefixroute", "autojoin", "stable-privacy",
)  # fmt: skip
"""IFA_F_..., lowest bit first; the first is called temporary in IPv6."""


def read_addresses(
    kernel: Kernel, in_devices: Column, inet6_devices: Column, gaps: Gaps
) -> list[list[AddressRecord]]:
    """Addresses of each interface, IPv4 first, in the order of `ip address`."""
    found: list[list[AddressRecord]] = [[] for _ in in_devices]
    _read_v4(kernel, in_devices, found, gaps)
    for row, device in enumerate(inet6_devices.tolist()):
        if device:
            found[row] += _read_v6(kernel, device, gaps)
    return found


def address_flags(flags: int, family: str) -> list[str]:
    """Flags as `ip` names them."""
    names = [name for bit, name in enumerate(FLAG_NAMES) if flags >> bit & 1]
    return ["temporary" if name == "secondary" and family == "inet6" else name for name in names]


def _read_v4(kernel: Kernel, in_devices: Column, found: list[list[AddressRecord]], gaps: Gaps) -> None:
    rows = {device: row for row, device in enumerate(in_devices.tolist()) if device}
    heads = kernel.read("in_device", "ifa_list", in_devices)["ifa_list"]
    link = kernel.offset("in_ifaddr", "ifa_next")
    nodes = walk_chains(kernel, heads, "addresses", gaps, link=link)
    columns = kernel.read("in_ifaddr", V4_FIELDS, nodes)
    local, address = columns.raw("ifa_local", 4), columns.raw("ifa_address", 4)
    labels = text_rows(columns.raw("ifa_label"))
    for number, device in enumerate(columns["ifa_dev"].tolist()):
        row = rows.get(device)
        if row is None:
            gaps.add("addresses", "torn", "an address of another interface")
            continue
        scope = int(columns["ifa_scope"][number])
        here, there = address_text(local[number].tobytes()), address_text(address[number].tobytes())
        found[row].append(
            AddressRecord(
                family="inet",
                address=here,
                prefix_length=int(columns["ifa_prefixlen"][number]),
                peer=there if there != here else None,
                scope=V4_SCOPES.get(scope, str(scope)),
                flags=address_flags(int(columns["ifa_flags"][number]), "inet"),
                label=guest_text(labels[number]) or None,
            )
        )


def _read_v6(kernel: Kernel, device: int, gaps: Gaps) -> list[AddressRecord]:
    head = Gva(device + kernel.offset("inet6_dev", "addr_list"))
    try:
        nodes = walk_list(kernel, head, "inet6_dev.addr_list", MAX_ADDRESSES)
    except GuestDataError as error:
        gaps.add("addresses", "unreadable", error.message)
        return []
    offset = np.uint64(kernel.offset("inet6_ifaddr", "if_list"))
    columns = kernel.read("inet6_ifaddr", V6_FIELDS, np.array(nodes, dtype=np.uint64) - offset)
    addresses, peers = columns.raw("addr", 16), columns.raw("peer_addr", 16)
    result = []
    for number, (scope, flags, length) in enumerate(
        zip(columns["scope"].tolist(), columns["flags"].tolist(), columns["prefix_len"].tolist(), strict=True)
    ):
        peer = peers[number].tobytes()
        result.append(
            AddressRecord(
                family="inet6",
                address=address_text(addresses[number].tobytes()),
                prefix_length=length,
                peer=address_text(peer) if any(peer) else None,
                scope=V6_SCOPES.get(scope, str(scope)),
                flags=address_flags(flags, "inet6"),
                label=None,
            )
        )
    return result
