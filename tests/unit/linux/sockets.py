"""A kernel with tables of sockets in two namespaces, for the tests of their readers."""

from __future__ import annotations

from collections.abc import Sequence

from tests.unit.linux.small import Small
from vmon.linux import everysocket, inode, netdevice

WANTS = everysocket.WANTS | netdevice.NAME_WANTS | inode.WANTS
STRUCTS = {
    "in6_addr": "bytes:u8*16",
    "node": "skc_node:list_head skc_nulls_node:list_head",
    "sock_common": "skc_daddr:u32 skc_rcv_saddr:u32 skc_dport:u16 skc_num:u16 skc_family:u16 skc_state:u8 "
    "skc_bound_dev_if:s32 skc_net:p skc_v6_daddr:in6_addr skc_v6_rcv_saddr:in6_addr :node",
    "counter": "counter:u32",
    "refcount": "refs:counter",
    "backlog": "rmem_alloc:counter",
    "sk_buff_head": "next:p prev:p qlen:u32",
    "unix_skb_parms": "pid:p consumed:u32",
    "sk_buff": "next:p prev:p len:u32 cb:u8*48",
    "sock": "__sk_common:sock_common sk_receive_queue:sk_buff_head sk_backlog:backlog sk_ack_backlog:u32 "
    "sk_wmem_alloc:refcount sk_uid:u32 sk_kern_sock:u8 sk_type:u16 sk_protocol:u16 sk_socket:p",
    "tcp_sock": "sk:sock rcv_nxt:u32 copied_seq:u32 write_seq:u32 snd_una:u32",
    "udp_sock": "sk:sock forward_deficit:s32",
    "inet_timewait_sock": "__tw_common:sock_common tw_substate:u8",
    "unix_sock": "sk:sock addr:p peer:p",
    "unix_address": "len:s32 name:u8*0",
    "netlink_sock": "sk:sock portid:u32 node:p",
    "packet_sock": "sk:sock ifindex:s32 num:u16",
    "socket": "state:s32 sk:p",
    "inode": "i_mode:u16 i_ino:u64 i_size:u64 i_sb:p",
    "socket_alloc": "socket:socket vfs_inode:inode",
    "inet_ehash_bucket": "chain:p",
    "inet_listen_hashbucket": "lock:u64 nulls_head:p",
    "inet_hashinfo": "ehash:p ehash_mask:u32 lhash2_mask:u32 lhash2:p",
    "udp_hslot": "head:p count:u32",
    "udp_table": "hash:p mask:u32",
    "raw_hashinfo": "lock:u64 ht:p*4",
    "ping_table": "hash:p*2",
    "rhashtable": "tbl:p",
    "bucket_table": "size:u32 nest:u32 future_tbl:p buckets:p*0",
    "netlink_table": "hash:rhashtable more:u64",
    "ns_common": "inum:u32",
    "unix_table": "locks:p buckets:p",
    "netns_unix": "table:unix_table",
    "netns_packet": "sklist:p",
    "death_row": "hashinfo:p",
    "netns_ipv4": "tcp_death_row:death_row udp_table:p",
    "net": "list:list_head ns:ns_common ipv4:netns_ipv4 unx:netns_unix packet:netns_packet dev_base_head:list_head",
    "net_device": "dev_list:list_head name:char*16 ifindex:s32",
}
# Until 5.18 listening_hash; until 5.20 one table of unix sockets.
OLD_STRUCTS = {
    **STRUCTS,
    "inet_hashinfo": "ehash:p ehash_mask:u32 lhash2_mask:u32 lhash2:p listening_hash:inet_listen_hashbucket*2",
    "netns_unix": "sysctl:u32",
}
SYMBOLS = {
    "net_namespace_list": 16, "init_net": 256, "tcp_hashinfo": 128, "udp_table": 64, "udplite_table": 64,
    "raw_v4_hashinfo": 64, "raw_v6_hashinfo": 64, "ping_table": 64, "nl_table": 8, "unix_socket_table": 4096,
}  # fmt: skip
TCP, UDP, LISTENING_BASE = 6, 17, 1 << 29
BUCKETS = 4


class Sockets(Small):
    """Empty tables at first; `put_chain` fills one bucket."""

    def __init__(self, structs: dict[str, str] | None = None, symbols: dict[str, int] | None = None) -> None:
        super().__init__(WANTS, structs or STRUCTS, symbols or SYMBOLS, unions=("node",))
        self.old = structs is OLD_STRUCTS
        self.first, self.other = self.symbol("init_net"), self.new("net", ns__inum=22)
        self.set(self.first, "net", ns__inum=11)
        self.chain(
            self.symbol("net_namespace_list"),
            [self.field(net, "net", "list") for net in (self.first, self.other)],
        )
        self.unix = {}
        for net in (self.first, self.other):
            device = self.new("net_device", name=b"eth0" if net == self.first else b"tun\xff", ifindex=2)
            head = self.field(net, "net", "dev_base_head")
            self.chain(head, [self.field(device, "net_device", "dev_list")])
            self.unix[net] = self.symbol("unix_socket_table") if self.old else self.alloc(4096)
            if not self.old:
                self.set(net, "net", unx__table__buckets=self.unix[net])
        self.ehash, self.lhash = self.alloc(8 * BUCKETS), self.alloc(16 * BUCKETS)
        for bucket in range(BUCKETS):
            self.put(self.ehash + 8 * bucket, bucket << 1 | 1)
            self.put(self.lhash + 16 * bucket + 8, (bucket + LISTENING_BASE) << 1 | 1)
        info = self.symbol("tcp_hashinfo")
        self.set(info, "inet_hashinfo", ehash=self.ehash, ehash_mask=BUCKETS - 1)
        self.set(info, "inet_hashinfo", lhash2=self.lhash, lhash2_mask=BUCKETS - 1)
        if self.old:
            self.lhash = self.field(info, "inet_hashinfo", "listening_hash")
            for bucket in range(2):
                self.put(self.lhash + 16 * bucket + 8, (bucket + LISTENING_BASE) << 1 | 1)
        self.udp = {}
        for name in ("udp_table", "udplite_table"):
            if name in self.profile.symbols:
                self.udp[name] = self.alloc(16 * BUCKETS)
                self.set(self.symbol(name), "udp_table", hash=self.udp[name], mask=BUCKETS - 1)
        self.links = self.alloc(32 * self.profile["netlink_table"].size)
        self.put(self.symbol("nl_table"), self.links)
        for link in range(32):
            table = self.new("bucket_table", 16, size=2)
            self.put(self.links + link * self.profile["netlink_table"].size, table)

    def sock(self, family: int, struct: str = "sock", net: int = 0, **values: int | bytes) -> int:
        """A sock; fields of the common part, of the sock, of what it is the head of."""
        sk = self.alloc(self.profile[struct].size)
        for name, value in {"skc_family": family, "skc_net": net or self.first, **values}.items():
            if name.startswith("skc_"):
                at, size = self.field(sk, "sock", "__sk_common." + name), 0
                size = self.profile["sock"]["__sk_common." + name].size
            else:
                owner = "sock" if name.startswith("sk_") else struct
                dotted = name.replace("__", ".")
                at, size = self.field(sk, owner, dotted), self.profile[owner][dotted].size
            data = value if isinstance(value, bytes) else value.to_bytes(size, "little")
            self.write(at, data)
        return sk

    def held(self, sk: int, inode: int) -> int:
        """Give a sock its struct socket and an inode."""
        alloc = self.new("socket_alloc")
        self.set(self.field(alloc, "socket_alloc", "vfs_inode"), "inode", i_ino=inode)
        socket = self.field(alloc, "socket_alloc", "socket")
        self.set(socket, "socket", sk=sk)
        self.put(self.field(sk, "sock", "sk_socket"), socket)
        return socket

    def node(self, sk: int) -> int:
        """Where a sock hangs in a table."""
        return self.field(sk, "sock", "__sk_common.skc_nulls_node")

    def put_chain(self, head: int, socks: Sequence[int], end: int = 0) -> None:
        """Let these socks hang at a head."""
        nodes = [self.node(sk) for sk in socks]
        for at, after in zip([head, *nodes], [*nodes, end], strict=True):
            self.put(at, after)

    def connect(self, bucket: int, *socks: int) -> None:
        """Put socks into TCP's table."""
        self.put_chain(self.ehash + 8 * bucket, socks, bucket << 1 | 1)

    def listen(self, bucket: int, *socks: int) -> None:
        """Put socks among those that listen."""
        self.put_chain(self.lhash + 16 * bucket + 8, socks, (bucket + LISTENING_BASE) << 1 | 1)
