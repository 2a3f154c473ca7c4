"""The network of a guest: who listens, interfaces, routes, neighbours. Pure data."""

from __future__ import annotations

import msgspec


class PortRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One port that something listens at, and one process that does."""

    protocol: str
    """tcp, udp, udplite, sctp, mptcp."""
    family: str
    """inet or inet6."""
    address: str
    port: int
    interface: str | None
    """The only interface that it listens at; None for all."""
    pid: int | None
    """None where no process holds the socket: the kernel's own, or of a process that hides."""
    process: str | None
    uid: int | None
    """User of the process, of the socket where there is no process."""
    exe: str | None
    """None for a kernel thread, and where there is no process."""
    kernel: bool
    """The kernel made the socket for itself (MPTCP, WireGuard, NFS): no process need hold it."""
    net_namespace: int | None
    inode: int
    sock: int
    """Address of its struct sock."""


class AddressRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One address of an interface."""

    family: str
    """inet or inet6."""
    address: str
    prefix_length: int
    peer: str | None
    """The other end of a point-to-point link; None where that is the address itself."""
    scope: str
    """global, site, link, host, nowhere, or the number of one that the guest made up."""
    flags: list[str]
    """As ip writes them: secondary, temporary, nodad, dadfailed, deprecated, tentative, permanent..."""
    label: str | None
    """Of IPv4 alone, eth0:1."""


class InterfaceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One network interface, as `ip address` has it."""

    name: str
    index: int
    type: str
    """Of the link: ether, loopback, none, ppp... or its ARPHRD number."""
    kind: str | None
    """What makes it: veth, bridge, dummy, tun, wireguard...; None for hardware and for lo."""
    mac: str | None
    """Hardware address; None where the link has none."""
    mtu: int
    flags: list[str]
    """UP, BROADCAST, LOOPBACK, RUNNING, PROMISC, LOWER_UP...: PROMISC also where `ip` hides it, as for a sniffer."""
    promiscuity: int
    """How many want every frame: sniffers, bridges."""
    operstate: str
    """up, down, unknown, dormant, lowerlayerdown, testing, notpresent."""
    master: str | None
    """Bridge, bond or VRF that it belongs to."""
    qdisc: str | None
    """Name of its root queueing discipline."""
    tx_queue_length: int
    addresses: list[AddressRecord]
    rx_bytes: int | None
    """None, as the other counters, where its driver counts in a place of its own: then a gap says so."""
    rx_packets: int | None
    tx_bytes: int | None
    tx_packets: int | None
    net_namespace: int
    device: int
    """Address of its struct net_device."""


class RouteRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One way of one route, as `ip route` has it: a route of several ways is several records."""

    family: str
    """inet or inet6."""
    destination: str
    prefix_length: int
    source: str | None
    """ADDRESS/LENGTH that packets must come from, of an IPv6 route that says so."""
    type: str
    """unicast, local, broadcast, anycast, multicast, blackhole, unreachable, prohibit, throw."""
    table: str
    """main, local, default, or a number."""
    gateway: str | None
    interface: str | None
    weight: int
    """Of this way among the others of the route."""
    metric: int
    protocol: str
    """Who made it: kernel, boot, static, dhcp, ra, bird... or a number."""
    scope: str | None
    """global, site, link, host, nowhere or a number; None for IPv6."""
    preferred_source: str | None
    flags: list[str]
    """dead, onlink, linkdown..."""
    net_namespace: int


class NeighbourRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One neighbour on a link, as `ip neighbour` has it (IPv4: ARP, IPv6: NDP)."""

    family: str
    """inet or inet6."""
    address: str
    mac: str | None
    """None where it did not answer yet."""
    interface: str
    state: str
    """reachable, stale, delay, probe, incomplete, failed, noarp, permanent, none."""
    flags: list[str]
    """router, proxy, extern_learn..."""
    net_namespace: int
