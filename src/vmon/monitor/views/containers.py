"""What processes are gathered in: cgroups, containers. Reads the guest, changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmon.core.coverage import Answer, Gaps
from vmon.monitor.views.subject import Subject

if TYPE_CHECKING:
    from vmon.core.records.container import CgroupRecord, ContainerRecord


class ContainerViews(Subject):
    """Mixed into VirtualMachine."""

    def cgroups(self) -> Answer[CgroupRecord]:
        """Every cgroup of the unified hierarchy, each before its children, with what is in it and its limits. 1 ms."""
        from vmon.linux import cgrouptree

        gaps = Gaps()
        return Answer(cgrouptree.read_cgroup_tree(self.wide_kernel, self.snapshot().tasks, gaps), gaps)

    def containers(self) -> Answer[ContainerRecord]:
        """Every container that has a process, the oldest first: by its cgroup's path, or by its namespaces. 3 to 6 ms.

        docker, containerd, CRI-O, podman and LXC are known by the path, where the guest's engine uses the unified
        hierarchy of cgroups; else by pid and mount namespaces of their own.
        """
        from vmon.linux import container

        gaps, snapshot = Gaps(), self.snapshot()
        records = container.find_containers(self.wide_kernel, snapshot, gaps)
        gaps.add_all(snapshot.coverage)
        return Answer(records, gaps)
