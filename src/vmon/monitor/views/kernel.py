"""The guest's kernel: what is loaded into it and what hooks it. Reads the guest, changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmon.core.coverage import Answer, Gaps
from vmon.linux import module
from vmon.monitor.views.subject import Subject

if TYPE_CHECKING:
    from vmon.core.records.kernel import ModuleRecord

WANTS = module.WANTS


class KernelViews(Subject):
    """Mixed into VirtualMachine."""

    def modules(self) -> Answer[ModuleRecord]:
        """Loaded modules, newest first, as lsmod. BadStructure where the list has no end."""
        gaps = Gaps()
        return Answer(module.find_modules(self.wide_kernel, gaps), gaps)
