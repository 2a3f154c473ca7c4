"""A network interface is a net_device on its namespace's list.

Reads net_device, what makes it, its queueing discipline and its master. A hostile guest can bend the list: the walk is
bounded and stops at a repetition. An interface that is renamed or moved meanwhile shows one of its names.
Sources: include/linux/netdevice.h, net/core/dev.c dev_get_flags, net/core/net-sysfs.c, include/uapi/linux/if.h.
"""

from __future__ import annotations

import numpy as np

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError
from vmon.core.records.network import InterfaceRecord
from vmon.core.text import guest_text
from vmon.kernel.columns import Column, Columns, text_rows
from vmon.kernel.profile import Wants
from vmon.linux import ifaddr, netstats
from vmon.linux.kernel import Kernel, distinct
from vmon.linux.net import Net
from vmon.linux.task import walk_list

MAX_DEVICES = 100_000
MAX_KIND_BYTES = 32
MAX_MAC_BYTES = 32
MAX_UPPER = 1_000
NAME_WANTS = Wants(structs={"net": "dev_base_head", "net_device": "dev_list name ifindex"})
FIELDS = (
    "name ifindex type mtu flags state operstate promiscuity dev_addr addr_len tx_queue_len qdisc rtnl_link_ops "
    "ip_ptr ip6_ptr"
)
WANTS = (
    NAME_WANTS
    | ifaddr.WANTS
    | netstats.WANTS
    | Wants(
        structs={
            "net_device": f"{FIELDS} adj_list.upper",
            "netdev_adjacent": "dev master list",
            "rtnl_link_ops": "kind",
            "Qdisc": "ops",
            "Qdisc_ops": "id",
        }
    )
)
TYPE_NAMES = {
    1: "ether", 32: "infiniband", 512: "ppp", 768: "ipip", 769: "tunnel6", 772: "loopback", 776: "sit",
    778: "gre", 801: "ieee80211", 803: "ieee80211/radiotap", 280: "can", 519: "rawip", 820: "phonet", 823: "gre6",
    824: "netlink", 826: "vsockmon", 65534: "none", 65535: "void",
}  # fmt: skip
FLAG_NAMES = (
    "UP", "BROADCAST", "DEBUG", "LOOPBACK", "POINTOPOINT", "NOTRAILERS", "RUNNING", "NOARP", "PROMISC", "ALLMULTI",
    "MASTER", "SLAVE", "MULTICAST", "PORTSEL", "AUTOMEDIA", "DYNAMIC", "LOWER_UP", "DORMANT", "ECHO",
)  # fmt: skip
"""IFF_..., lowest bit first."""
IFF_UP, IFF_RUNNING, IFF_LOWER_UP, IFF_DORMANT = 1, 1 << 6, 1 << 16, 1 << 17
STATE_START, STATE_NOCARRIER, STATE_DORMANT = 1 << 0, 1 << 2, 1 << 4
"""Bits of enum netdev_state_t."""
OPERSTATES = ("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up")
OPER_UP = (0, 6)
DOWN = 2


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
    return dict(zip(columns["ifindex"].tolist(), _names(columns), strict=True))


def read_device_names(kernel: Kernel, devices: Column) -> list[str | None]:
    """Name of each net_device by its address; None for null."""
    names: list[str | None] = list(_names(kernel.read("net_device", "name", devices)))
    return [name if device else None for name, device in zip(names, devices.tolist(), strict=True)]


def _names(columns: Columns) -> list[str]:
    return [guest_text(name) for name in text_rows(columns.raw("name"))]


def find_interfaces(kernel: Kernel, net: Net, gaps: Gaps) -> list[InterfaceRecord]:
    """Every interface of a namespace, in the order of `ip address`."""
    devices = find_devices(kernel, net.net, gaps)
    columns = kernel.read("net_device", FIELDS, devices)
    names, kinds = _names(columns), _kinds(kernel, columns["rtnl_link_ops"])
    counters = netstats.read_counters(kernel, devices, kinds, gaps)
    addresses = ifaddr.read_addresses(kernel, columns["ip_ptr"], columns["ip6_ptr"], gaps)
    masters, macs = _masters(kernel, devices, gaps), _macs(kernel, columns, gaps)
    qdiscs = _qdiscs(kernel, columns["qdisc"])
    numbers = {field: columns[field].tolist() for field in ("type", "mtu", "flags", "state", "operstate")}
    result = []
    for row, device in enumerate(devices.tolist()):
        kind, state, oper = (numbers[field][row] for field in ("type", "state", "operstate"))
        result.append(
            InterfaceRecord(
                name=names[row],
                index=int(columns["ifindex"][row]),
                type=TYPE_NAMES.get(kind, str(kind)),
                kind=kinds[row],
                mac=macs[row],
                mtu=numbers["mtu"][row],
                flags=flag_names(numbers["flags"][row], state, oper),
                promiscuity=int(columns["promiscuity"][row]),
                operstate=_operstate(state, oper),
                master=masters[row],
                qdisc=qdiscs[row],
                tx_queue_length=int(columns["tx_queue_len"][row]),
                addresses=addresses[row],
                rx_bytes=counters[row].rx_bytes,
                rx_packets=counters[row].rx_packets,
                tx_bytes=counters[row].tx_bytes,
                tx_packets=counters[row].tx_packets,
                net_namespace=net.inum,
                device=device,
            )
        )
    return result


def flag_names(flags: int, state: int, operstate: int) -> list[str]:
    """Flags as `ip` shows them: whether it runs is in other fields than what was set."""
    flags &= ~(IFF_RUNNING | IFF_LOWER_UP | IFF_DORMANT)
    if state & STATE_START:
        flags |= IFF_RUNNING if operstate in OPER_UP else 0
        flags |= 0 if state & STATE_NOCARRIER else IFF_LOWER_UP
        flags |= IFF_DORMANT if state & STATE_DORMANT else 0
    names = [name for bit, name in enumerate(FLAG_NAMES) if flags >> bit & 1]
    return ["NO-CARRIER", *names] if flags & IFF_UP and not flags & IFF_RUNNING else names


def _operstate(state: int, operstate: int) -> str:
    if not state & STATE_START:
        operstate = DOWN
    return OPERSTATES[operstate] if operstate < len(OPERSTATES) else str(operstate)


def _kinds(kernel: Kernel, ops: Column) -> list[str | None]:
    """Name of what makes each interface; None for hardware."""
    unique, which = distinct(ops)
    names: list[str | None] = [
        _string(kernel, pointer) for pointer in kernel.read("rtnl_link_ops", "kind", unique)["kind"].tolist()
    ]
    return [names[index] if index >= 0 else None for index in which.tolist()]


def _string(kernel: Kernel, gva: int) -> str | None:
    try:
        return guest_text(kernel.memory.string(Gva(gva), MAX_KIND_BYTES))
    except GuestDataError:
        return None


def _qdiscs(kernel: Kernel, qdiscs: Column) -> list[str | None]:
    unique, which = distinct(qdiscs)
    ops = kernel.read("Qdisc", "ops", unique)["ops"]
    rows = text_rows(kernel.read("Qdisc_ops", "id", ops).raw("id"))
    names = [guest_text(name) or None for name in rows]
    return [names[index] if index >= 0 else None for index in which.tolist()]


def _macs(kernel: Kernel, columns: Columns, gaps: Gaps) -> list[str | None]:
    found: list[str | None] = []
    for pointer, length in zip(columns["dev_addr"].tolist(), columns["addr_len"].tolist(), strict=True):
        if not length or length > MAX_MAC_BYTES:
            found.append(None)
            continue
        try:
            found.append(kernel.memory.read(Gva(pointer), length).hex(":"))
        except GuestDataError:
            gaps.add("mac", "unreadable")
            found.append(None)
    return found


def _masters(kernel: Kernel, devices: Column, gaps: Gaps) -> list[str | None]:
    """Name of each interface's master: the one of its upper interfaces that is marked so."""
    field = kernel.offset("net_device", "adj_list.upper")
    node_offset = kernel.offset("netdev_adjacent", "list")
    masters = np.zeros(len(devices), dtype=np.uint64)
    heads = devices + np.uint64(field)
    first = kernel.memory.gather(heads, 8).view("<u8").reshape(-1)
    for row in np.flatnonzero(first != heads).tolist():
        try:
            nodes = walk_list(kernel, Gva(int(heads[row])), "net_device.adj_list", MAX_UPPER)
        except GuestDataError as error:
            gaps.add("master", "unreadable", error.message)
            continue
        uppers = kernel.read(
            "netdev_adjacent", "dev master", np.array(nodes, dtype=np.uint64) - np.uint64(node_offset)
        )
        chosen = uppers["dev"][uppers["master"] != 0]
        masters[row] = chosen[0] if chosen.size else 0
    return read_device_names(kernel, masters)
