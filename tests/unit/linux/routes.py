"""A kernel with routing tables, for the tests of their readers."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import NamedTuple

from tests.unit.linux.small import Small
from vmon.linux import fib, fib6, netdevice

WANTS = fib.WANTS | fib6.WANTS | netdevice.NAME_WANTS
STRUCTS = {
    "net_device": "dev_list:list_head name:char*16 ifindex:s32",
    "netns_ipv4": "fib_main:p fib_table_hash:p",
    "netns_ipv6": "fib_table_hash:p fib6_local_tbl:p fib6_null_entry:p",
    "ns_common": "inum:u32",
    "net": "ns:ns_common ipv4:netns_ipv4 ipv6:netns_ipv6 dev_base_head:list_head",
    "hlist_node": "next:p pprev:p",
    "fib_table": "tb_id:u32 tb_hlist:hlist_node tb_data:p",
    "vector_end": "leaf:p tnode:p*0",
    "key_vector": "key:u32 pos:u8 bits:u8 slen:u8 :vector_end",
    "trie": "kv:key_vector*1 stats:p",
    "fib_alias": "fa_list:hlist_node fa_info:p fa_dscp:u8 fa_type:u8 fa_slen:u8 tb_id:u32",
    "in6_addr": "bytes:u8*16",
    "fib_nh_common": "nhc_dev:p nhc_oif:s32 nhc_gw_family:u8 nhc_flags:u8 nhc_gw:in6_addr nhc_weight:s32",
    "fib_nh": "nh_common:fib_nh_common more:u64",
    "fib_info": "fib_protocol:u8 fib_scope:u8 fib_prefsrc:u32 fib_priority:u32 fib_nhs:s32 nh:p fib_nh:fib_nh*0",
    "nexthop": "id:u32 is_group:u8 nh_info:p",
    "nh_info": "family:u8 fib_nhc:fib_nh_common",
    "nh_grp_entry": "nh:p weight:u8 more:u64",
    "nh_group": "num_nh:u16 nh_entries:nh_grp_entry*0",
    "fib6_node": "parent:p left:p right:p subtree:p leaf:p fn_flags:u16",
    "fib6_table": "tb6_hlist:hlist_node tb6_id:u32 tb6_root:fib6_node",
    "rt6key": "addr:in6_addr plen:s32",
    "fib6_nh": "nh_common:fib_nh_common",
    "fib6_info": "fib6_table:p fib6_next:p fib6_dst:rt6key fib6_src:rt6key fib6_prefsrc:rt6key fib6_metric:u32 "
    "fib6_protocol:u8 fib6_type:u8 nh:p fib6_nh:fib6_nh*0",
}
# Of a kernel built without subtrees.
FLAT = {
    "fib6_node": STRUCTS["fib6_node"].replace("subtree:p ", ""),
    "fib6_info": STRUCTS["fib6_info"].replace("fib6_src:rt6key ", ""),
}
RTN_RTINFO = 4


class WayMade(NamedTuple):
    """What a fib_nh_common is filled with."""

    device: int
    gateway: str | None
    weight: int
    flags: int


class Routes(Small):
    """One namespace with empty tables."""

    def __init__(self, subtrees: bool = True) -> None:
        super().__init__(
            WANTS, STRUCTS if subtrees else {**STRUCTS, **FLAT}, {"init_net": 256}, unions=("vector_end",)
        )
        self.net = self.symbol("init_net")
        self.hash4, self.hash6 = self.alloc(256 * 8), self.alloc(256 * 8)
        self.null = self.new("fib6_info", 64)
        self.set(self.net, "net", ipv4__fib_table_hash=self.hash4, ipv6__fib_table_hash=self.hash6)
        self.set(self.net, "net", ipv6__fib6_null_entry=self.null)
        self.devices = {
            name: self.new("net_device", name=name.encode(), ifindex=number)
            for number, name in enumerate(("lo", "eth0"), 1)
        }

    def way(self, device: str | None, gateway: str | None = None, weight: int = 1, flags: int = 0) -> WayMade:
        return WayMade(self.devices[device] if device else 0, gateway, weight, flags)

    def _fill(self, at: int, way: WayMade) -> None:
        packed = ipaddress.ip_address(way.gateway).packed if way.gateway else b""
        self.set(
            at, "fib_nh_common", nhc_dev=way.device, nhc_weight=way.weight, nhc_flags=way.flags, nhc_gw=packed
        )
        self.set(at, "fib_nh_common", nhc_gw_family={0: 0, 4: 2, 16: 10}[len(packed)])

    def info(
        self,
        ways: Sequence[WayMade],
        metric: int = 0,
        scope: int = 0,
        protocol: int = 2,
        source: str | None = None,
    ) -> int:
        size = self.profile["fib_nh"].size
        made = self.new("fib_info", size * len(ways), fib_priority=metric, fib_scope=scope, fib_nhs=len(ways))
        self.set(made, "fib_info", fib_protocol=protocol)
        if source:
            self.set(made, "fib_info", fib_prefsrc=ipaddress.ip_address(source).packed)
        for number, way in enumerate(ways):
            self._fill(self.field(made, "fib_info", "fib_nh") + size * number, way)
        return made

    def nexthop(self, way: WayMade) -> int:
        info = self.new("nh_info")
        self._fill(self.field(info, "nh_info", "fib_nhc"), way)
        return self.new("nexthop", nh_info=info)

    def nexthop_group(self, members: Sequence[tuple[int, int]]) -> int:
        entry = self.profile["nh_grp_entry"]
        group = self.new("nh_group", entry.size * len(members), num_nh=len(members))
        for number, (nh, weight) in enumerate(members):
            at = self.field(group, "nh_group", "nh_entries") + entry.size * number
            self.set(at, "nh_grp_entry", nh=nh, weight=weight)
        return self.new("nexthop", nh_info=group, is_group=1)

    def alias(self, info: int, table: int = 254, length: int = 24, kind: int = 1) -> int:
        return self.new("fib_alias", fa_info=info, fa_type=kind, fa_slen=32 - length, tb_id=table)

    def leaf(self, key: int, aliases: Sequence[int]) -> int:
        made = self.new("key_vector", key=key)
        at = self.field(made, "key_vector", "leaf")
        for alias in aliases:
            self.put(at, alias)
            at = alias
        return made

    def node(self, children: Sequence[int]) -> int:
        made = self.new("key_vector", 8 * len(children), bits=len(children).bit_length() - 1)
        for number, child in enumerate(children):
            self.put(self.field(made, "key_vector", "tnode") + 8 * number, child)
        return made

    def trie(self, child: int) -> int:
        made = self.new("trie")
        self.put(self.field(made, "trie", "kv") + self.profile["key_vector"].offset("tnode"), child)
        return made

    def table(self, trie: int, bucket: int = 1) -> int:
        made = self.new("fib_table", tb_data=trie)
        self.put(self.hash4 + 8 * bucket, self.field(made, "fib_table", "tb_hlist"))
        return made

    def info6(
        self, to: str, length: int, way: WayMade, metric: int = 0, protocol: int = 2, kind: int = 1
    ) -> int:
        made = self.new("fib6_info", self.profile["fib6_nh"].size, fib6_metric=metric, fib6_protocol=protocol)
        self.set(made, "fib6_info", fib6_dst__addr=ipaddress.ip_address(to).packed, fib6_dst__plen=length)
        self.set(made, "fib6_info", fib6_type=kind)
        self._fill(self.field(made, "fib6_info", "fib6_nh"), way)
        return made

    def node6(self, leaf: int, real: bool = True, **branches: int) -> int:
        return self.new("fib6_node", leaf=leaf, fn_flags=RTN_RTINFO if real else 0, **branches)

    def table6(self, number: int, leaf: int, bucket: int | None = None, **branches: int) -> int:
        made = self.new("fib6_table", tb6_id=number)
        self.set(
            self.field(made, "fib6_table", "tb6_root"),
            "fib6_node",
            leaf=leaf,
            fn_flags=RTN_RTINFO,
            **branches,
        )
        self.put(self.hash6 + 8 * (number if bucket is None else bucket), made)
        return made
