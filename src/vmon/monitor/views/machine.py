"""The guest's memory and CPUs as its kernel counts them. Reads the guest, changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmon.core.coverage import Answer
from vmon.monitor.views.subject import Subject, answer

if TYPE_CHECKING:
    from vmon.core.records.machine import CpuRecord, LoadRecord, MemoryRecord


class MachineViews(Subject):
    """Mixed into VirtualMachine."""

    def meminfo(self) -> Answer[MemoryRecord]:
        """Where the guest's memory is, by the names of /proc/meminfo, in bytes. About a millisecond.

        BadStructure where the kernel's counters are none.
        """
        from vmon.linux import vmstat

        return answer(lambda gaps: vmstat.read_meminfo(self.wide_kernel, gaps))

    def cpus(self) -> Answer[CpuRecord]:
        """Every CPU that is present, what it is and where its time went. Less than a millisecond a CPU."""
        from vmon.linux import cpu

        return answer(lambda gaps: cpu.find_cpus(self.wide_kernel, gaps))

    def load(self) -> Answer[LoadRecord]:
        """One record: time since boot, load averages, how long each CPU was busy. A fifth of a millisecond."""
        from vmon.linux import load

        return answer(lambda gaps: [load.read_load(self.wide_kernel, gaps)])
