"""What the guest's kernel will do later: timers and workqueues. Reads the guest, changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmon.core.coverage import Answer
from vmon.monitor.views.subject import Subject, answer

if TYPE_CHECKING:
    from vmon.core.records.deferred import TimerRecord, WorkerPoolRecord, WorkqueueRecord


class DeferredViews(Subject):
    """Mixed into VirtualMachine."""

    def timers(self) -> Answer[TimerRecord]:
        """Timers that are set, CPU by CPU; a few ms, once 200 more for the names of functions.

        BadStructure where trees or lists of them do not end.
        """
        from vmon.linux import timer
        from vmon.linux.where import Where

        kernel = self.wide_kernel
        return answer(lambda gaps: timer.find_timers(kernel, Where(kernel, gaps), gaps))

    def workqueues(self) -> Answer[WorkqueueRecord]:
        """Workqueues, in the order in which they were made. BadStructure where their list does not end."""
        from vmon.linux import workqueue

        return answer(lambda gaps: workqueue.find_workqueues(self.wide_kernel, gaps))

    def worker_pools(self) -> Answer[WorkerPoolRecord]:
        """Pools of kworker threads by id, with what they run. BadStructure where their table is none."""
        from vmon.linux import workqueue
        from vmon.linux.where import Where

        kernel = self.wide_kernel
        return answer(lambda gaps: workqueue.find_worker_pools(kernel, Where(kernel, gaps), gaps))
