"""The guest's kernel: what is loaded into it and what hooks it. Reads the guest, changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmon.core.coverage import Answer, Gaps
from vmon.linux import module, printk
from vmon.monitor.views.subject import Subject

if TYPE_CHECKING:
    from vmon.core.records.kernel import ModuleRecord
    from vmon.core.records.log import LogRecord

WANTS = module.WANTS | printk.WANTS


class KernelViews(Subject):
    """Mixed into VirtualMachine."""

    def modules(self) -> Answer[ModuleRecord]:
        """Loaded modules, newest first, as lsmod. BadStructure where the list has no end."""
        gaps = Gaps()
        return Answer(module.find_modules(self.wide_kernel, gaps), gaps)

    def dmesg(self, after: int = -1) -> Answer[LogRecord]:
        """The kernel's log, oldest first, as dmesg; of `after` only what has a higher sequence. 2 to 20 ms.

        BadStructure where the log's ring is none.
        """
        gaps = Gaps()
        return Answer(printk.read_log(self.wide_kernel, gaps, after), gaps)
