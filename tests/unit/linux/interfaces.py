"""A kernel with network interfaces, for the tests of their readers."""

from __future__ import annotations

from tests.unit.linux.small import Small
from vmon.linux import netdevice

WANTS = netdevice.WANTS
STATS = "rx_packets:u64 tx_packets:u64 rx_bytes:u64 tx_bytes:u64"
STRUCTS = {
    "net_device_stats": STATS,
    "adjacency": "upper:list_head",
    "net_device": "dev_list:list_head adj_list:adjacency name:char*16 ifindex:s32 type:u16 mtu:u32 flags:u32 state:u64 "
    "operstate:u32 promiscuity:u32 dev_addr:p addr_len:u8 tx_queue_len:u32 qdisc:p rtnl_link_ops:p ip_ptr:p ip6_ptr:p "
    "stats:net_device_stats netdev_ops:p lstats:p pcpu_stat_type:u8",
    "netdev_adjacent": "dev:p master:u8 list:list_head",
    "rtnl_link_ops": "kind:p",
    "Qdisc": "ops:p",
    "Qdisc_ops": "id:char*16",
    "net_device_ops": "ndo_get_stats64:p ndo_get_stats:p",
    "pcpu_lstats": "packets:u64 bytes:u64",
    "pcpu_sw_netstats": STATS,
    "pcpu_dstats": STATS,
    "in6_addr": "bytes:u8*16",
    "in_device": "ifa_list:p",
    "in_ifaddr": "ifa_hash:p ifa_next:p ifa_dev:p ifa_local:u32 ifa_address:u32 ifa_prefixlen:u8 ifa_scope:u8 "
    "ifa_flags:u32 ifa_label:char*16",
    "inet6_dev": "addr_list:list_head",
    "inet6_ifaddr": "addr:in6_addr peer_addr:in6_addr prefix_len:u32 scope:u16 flags:u32 if_list:list_head",
    "net": "dev_base_head:list_head",
}
ENUMS = {
    "netdev_stat_type": {
        f"NETDEV_PCPU_STAT_{name}": at for at, name in enumerate(("NONE", "LSTATS", "TSTATS", "DSTATS"))
    }
}
SYMBOLS = {
    "__per_cpu_offset": 16,
    "nr_cpu_ids": 4,
    "dev_get_tstats64": 16,
    "loopback_get_stats64": 16,
    "init_net": 64,
}
ETHER, LOOPBACK = 1, 772
CPU_DISTANCE = 0x1000


class Interfaces(Small):
    """One namespace, two CPUs."""

    def __init__(self) -> None:
        super().__init__(WANTS, STRUCTS, SYMBOLS, ENUMS)
        self.net = self.symbol("init_net")
        self.put(self.symbol("nr_cpu_ids"), 2, 4)
        self.areas = self.alloc(2 * CPU_DISTANCE, 4096)
        self.put(self.symbol("__per_cpu_offset"), self.areas)
        self.put(self.symbol("__per_cpu_offset") + 8, self.areas + CPU_DISTANCE)
        self.devices: list[int] = []
        self.used_of_area = 0

    def device(self, name: bytes, kind: bytes = b"", asked: int = 0, **values: int | bytes) -> int:
        made = self.new("net_device", name=name, ifindex=len(self.devices) + 1, **values)
        self.set(made, "net_device", netdev_ops=self.new("net_device_ops", ndo_get_stats64=asked))
        if kind:
            self.set(made, "net_device", rtnl_link_ops=self.new("rtnl_link_ops", kind=self.string(kind)))
        self.chain(self.field(made, "net_device", "adj_list.upper"), [])
        self.devices.append(made)
        head = self.field(self.net, "net", "dev_base_head")
        self.chain(head, [self.field(one, "net_device", "dev_list") for one in self.devices])
        return made

    def each_cpu(self, device: int, struct: str, *counts: dict[str, int]) -> None:
        """Counters of each CPU for a device."""
        place = self.used_of_area
        self.used_of_area += 64
        self.set(device, "net_device", lstats=place)
        for cpu, values in enumerate(counts):
            self.set(self.areas + CPU_DISTANCE * cpu + place, struct, **values)

    def master(self, device: int, *uppers: tuple[int, int]) -> None:
        """What a device is below; one of them may be its master."""
        nodes = [self.new("netdev_adjacent", dev=upper, master=is_master) for upper, is_master in uppers]
        head = self.field(device, "net_device", "adj_list.upper")
        self.chain(head, [self.field(node, "netdev_adjacent", "list") for node in nodes])
