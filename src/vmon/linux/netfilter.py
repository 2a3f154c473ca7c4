"""Each network namespace has lists of functions that packets go through, by protocol and place.

Reads net, netns_nf, nf_hook_entries. A hostile guest can claim any number of entries: bounded. Hooks on single devices
(ingress) are not read. Sources: include/net/netns/netfilter.h, include/linux/netfilter.h, net/netfilter/core.c.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel
from vmon.linux.task import walk_list

FAMILIES = ("ipv4", "ipv6", "arp", "bridge", "decnet")
PLACES = ("prerouting", "input", "forward", "output", "postrouting")
WANTS = Wants(
    symbols=("net_namespace_list",),
    structs={
        "net": "list ns.inum " + " ".join(f"nf.hooks_{family}" for family in FAMILIES),
        "nf_hook_entries": "num_hook_entries hooks",
        "nf_hook_entry": "hook",
    },
)
MAX_NAMESPACES = 10_000
MAX_ENTRIES = 1024


def find_hooks(kernel: Kernel, gaps: Gaps) -> Iterator[tuple[str, int, int]]:
    """(namespace, family and place in words, address of the pointer, function) of each hook of each namespace."""
    if "net" not in kernel.profile.structs or not kernel.has_symbol("net_namespace_list"):
        gaps.add("netfilter hooks", "not on this kernel")
        return
    offset = kernel.offset("net", "list")
    for node in walk_list(kernel, kernel.symbol("net_namespace_list"), "net.list", MAX_NAMESPACES):
        net = Gva(node - offset)
        number = int(kernel.read_one("net", "ns.inum", net)["ns.inum"][0])
        for family in FAMILIES:
            if f"nf.hooks_{family}" not in kernel.profile["net"]:
                continue
            field = kernel.profile["net"][f"nf.hooks_{family}"]
            heads = np.frombuffer(
                kernel.memory.read(Gva(net + field.offset), field.size), dtype="<u8"
            ).tolist()
            for place, entries in enumerate(heads):
                if entries:
                    where = (
                        f"{family} {PLACES[place] if place < len(PLACES) else place} of namespace {number}"
                    )
                    yield from _entries(kernel, Gva(entries), where, gaps)


def _entries(kernel: Kernel, entries: Gva, where: str, gaps: Gaps) -> Iterator[tuple[str, int, int]]:
    try:
        count = int(kernel.read_one("nf_hook_entries", "num_hook_entries", entries)["num_hook_entries"][0])
        start = entries + kernel.offset("nf_hook_entries", "hooks")
        stride = kernel.profile["nf_hook_entry"].size
        places = np.arange(min(count, MAX_ENTRIES), dtype=np.uint64) * np.uint64(stride) + np.uint64(start)
        hooks = kernel.read("nf_hook_entry", "hook", places)["hook"].tolist()
        yield from ((where, place, hook) for place, hook in zip(places.tolist(), hooks, strict=True))
    except GuestDataError as error:
        gaps.add("netfilter hooks", "unreadable", error.message)
