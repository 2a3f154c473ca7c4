"""A network interface is a net_device on its namespace's list.

Reads net_device. A hostile guest can bend the list: the walk is bounded and stops at a repetition. An interface that
is renamed or moved meanwhile shows one of its names. Sources: include/linux/netdevice.h.
"""

from __future__ import annotations

import numpy as np

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError
from vmon.core.text import guest_text
from vmon.kernel.columns import Column, text_rows
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel
from vmon.linux.task import walk_list

MAX_DEVICES = 100_000
NAME_WANTS = Wants(structs={"net": "dev_base_head", "net_device": "dev_list name ifindex"})


def find_devices(kernel: Kernel, net: int, gaps: Gaps) -> Column:
    """Address of every net_device of a namespace, in the order of `ip link`; none, and a gap, where it breaks."""
    try:
        head = Gva(net + kernel.offset("net", "dev_base_head"))
        nodes = walk_list(kernel, head, "net.dev_base_head", MAX_DEVICES)
        return np.array(nodes, dtype=np.uint64) - np.uint64(kernel.offset("net_device", "dev_list"))
    except GuestDataError as error:
        gaps.add("interfaces", "unreadable", error.message)
        return np.zeros(0, dtype=np.uint64)


def read_names(kernel: Kernel, net: int, gaps: Gaps) -> dict[int, str]:
    """Names of a namespace's interfaces by their numbers."""
    columns = kernel.read("net_device", "name ifindex", find_devices(kernel, net, gaps))
    if not columns.count:
        return {}
    names = map(guest_text, text_rows(columns.raw("name")))
    return dict(zip(columns["ifindex"].tolist(), names, strict=True))
