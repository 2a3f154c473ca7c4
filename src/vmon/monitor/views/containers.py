"""What processes are gathered in: cgroups, containers. Reads the guest, changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmon.core.coverage import Answer, Gaps
from vmon.linux import cgrouptree
from vmon.monitor.views.subject import Subject

if TYPE_CHECKING:
    from vmon.core.records.container import CgroupRecord

WANTS = cgrouptree.WANTS


class ContainerViews(Subject):
    """Mixed into VirtualMachine."""

    def cgroups(self) -> Answer[CgroupRecord]:
        """Every cgroup of the unified hierarchy, each before its children, with what is in it and its limits. 1 ms."""
        gaps = Gaps()
        return Answer(cgrouptree.read_cgroup_tree(self.wide_kernel, self.snapshot().tasks, gaps), gaps)
