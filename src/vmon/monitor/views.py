"""What a machine can be asked beside its processes, a method a view: each reads the guest and changes nothing.

What these readers need of a kernel is learnt when one of them is first used, not at attach: a profile of its own,
saved like the first. The answers are lists that carry what could not be seen. A hostile guest can lie in every field;
`vmon check` compares views that should agree.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from vmon.core.coverage import Answer, Gaps
from vmon.kernel.profile import Wants
from vmon.linux import module

if TYPE_CHECKING:
    from vmon.core.records.kernel import ModuleRecord
    from vmon.linux.kernel import Kernel

WANTS = module.WANTS


class Views:
    """Mixed into VirtualMachine."""

    @abstractmethod
    def _wide(self, wants: Wants) -> Kernel:
        """The running kernel with what these wants ask for, too."""

    @property
    def wide_kernel(self) -> Kernel:
        """The running kernel, for every reader of vmon.linux. 40 to 100 ms once for a build never met, then 1 to 3."""
        return self._wide(WANTS)

    def modules(self) -> Answer[ModuleRecord]:
        """Loaded modules, newest first, as lsmod. BadStructure where the list has no end."""
        gaps = Gaps()
        return Answer(module.find_modules(self.wide_kernel, gaps), gaps)
