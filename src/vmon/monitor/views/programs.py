"""The guest as a program of drgn, for who wants to look at any structure of its kernel. Reads the guest alone."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from vmon.monitor.views.subject import Subject

if TYPE_CHECKING:
    import drgn

    from vmon.core.ports import ReadPhys


class ProgramViews(Subject):
    """Mixed into VirtualMachine."""

    @property
    @abstractmethod
    def ram(self) -> ReadPhys:
        """The guest's physical memory."""

    @property
    @abstractmethod
    def is_live(self) -> bool:
        """Whether the guest runs, or can go on: a dump can't."""

    def drgn_program(self) -> drgn.Program:
        """A drgn program of the running kernel: `prog` of `vmon drgn`.

        `drgn.helpers.linux` works on it; docs/drgn.md lists what does not. 20 to 60 ms. It belongs to this
        boot: after a reboot make another. NotSupported where drgn is not installed.
        """
        from vmon.monitor.drgn import open_program

        return open_program(self.ram, self.wide_kernel, is_live=self.is_live)
