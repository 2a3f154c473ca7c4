"""Who sits at a terminal. Reads the guest, changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmon.core.coverage import Answer, Gaps
from vmon.monitor.views.subject import Subject

if TYPE_CHECKING:
    from vmon.core.records.login import LoginRecord


class LoginViews(Subject):
    """Mixed into VirtualMachine."""

    def who(self) -> Answer[LoginRecord]:
        """Every session that has a terminal, the oldest first, with what runs in its foreground. 2 to 5 ms."""
        from vmon.linux import terminal

        gaps, snapshot = Gaps(), self.snapshot()
        records = terminal.read_logins(self.wide_kernel, snapshot, gaps)
        gaps.add_all(snapshot.coverage)
        return Answer(records, gaps)
