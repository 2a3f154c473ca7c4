"""The guest's network: every socket, who listens, interfaces, routes. Reads the guest, changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmon.core.coverage import Answer, Gaps
from vmon.core.text import guest_text
from vmon.monitor.views.subject import Subject

if TYPE_CHECKING:
    from vmon.core.records.network import InterfaceRecord, NeighbourRecord, PortRecord, RouteRecord
    from vmon.core.records.process import SocketRecord
    from vmon.linux.snapshot import Snapshot


class NetworkViews(Subject):
    """Mixed into VirtualMachine."""

    def sockets(self, *, all: bool = False, namespace: int | None = None) -> Answer[SocketRecord]:
        """Every socket that a process holds; with `all` also those that none holds, out of the kernel's own tables.

        `namespace` is the inode number of a network namespace: UsageError where the guest has none of that number.
        Some milliseconds; with `all` some more.
        """
        return self._sockets(self.snapshot(), every=all, namespace=namespace)

    def _sockets(self, snapshot: Snapshot, *, every: bool, namespace: int | None) -> Answer[SocketRecord]:
        from vmon.linux import everysocket, net

        gaps = Gaps()
        held = [record for records in snapshot.sockets for record in records]
        gaps.add_all(snapshot.coverage)
        if not every and namespace is None:
            return Answer(held, gaps)
        kernel = self.wide_kernel
        nets = net.choose_nets(net.find_nets(kernel, gaps), namespace, True, gaps)
        if every:
            return Answer(everysocket.find_every_socket(kernel, held, nets, gaps), gaps)
        return Answer([record for record in held if record.net_namespace == namespace], gaps)

    def ports(self, *, namespace: int | None = None) -> Answer[PortRecord]:
        """Every port that something listens at, with each process that does, as `ss -lntup` in every namespace.

        A socket that no process holds is there too, with pid None: the kernel's own (`kernel`), or of a process that
        hides; or it is on its way in a message, or of a thread that has a table of descriptors of its own.
        """
        from vmon.linux import ports

        snapshot = self.snapshot()
        sockets = self._sockets(snapshot, every=True, namespace=namespace)
        rows = {pid: row for row, pid in enumerate(snapshot.pid)}

        def holder(pid: int) -> ports.Holder:
            exe = snapshot.exe[rows[pid]]
            return snapshot.uid[rows[pid]], guest_text(exe.text) if exe else None

        gaps = [gap for gap in sockets.coverage if gap.what not in ("unix", "netlink", "packet")]
        return Answer(ports.listening(sockets, holder), gaps)

    def interfaces(
        self, *, namespace: int | None = None, all_namespaces: bool = False
    ) -> Answer[InterfaceRecord]:
        """Every network interface with its addresses, as `ip address` has them; those of the first namespace.

        `namespace` is the inode number of another one: UsageError where the guest has none of that number. With
        `all_namespaces` those of all. What is left out is told in the coverage.
        """
        from vmon.linux import net, netdevice

        gaps = Gaps()
        kernel = self.wide_kernel
        nets = net.choose_nets(net.find_nets(kernel, gaps), namespace, all_namespaces, gaps)
        return Answer([one for each in nets for one in netdevice.find_interfaces(kernel, each, gaps)], gaps)

    def routes(self, *, namespace: int | None = None, all_namespaces: bool = False) -> Answer[RouteRecord]:
        """Every route of every table, IPv4 first, as `ip route show table all`; namespaces as for interfaces()."""
        from vmon.linux import fib, fib6, net

        gaps = Gaps()
        kernel = self.wide_kernel
        nets = net.choose_nets(net.find_nets(kernel, gaps), namespace, all_namespaces, gaps)
        found = []
        for each in nets:
            found += fib.in_order(fib.find_routes(kernel, each, gaps))
            found += fib.in_order(fib6.find_routes6(kernel, each, gaps))
        return Answer(found, gaps)

    def neighbours(
        self, *, namespace: int | None = None, all_namespaces: bool = False
    ) -> Answer[NeighbourRecord]:
        """Every neighbour that the guest knows on its links (ARP, NDP); namespaces as for interfaces()."""
        from vmon.linux import neighbour, net

        gaps = Gaps()
        kernel = self.wide_kernel
        nets = net.choose_nets(net.find_nets(kernel, gaps), namespace, all_namespaces, gaps)
        return Answer(neighbour.find_neighbours(kernel, nets, gaps), gaps)
