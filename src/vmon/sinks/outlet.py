"""All outputs of one machine as one thing to put records into: what `vmon watch --to` uses, for programs too.

outlet = Outlet(lambda: origin_of(vm), [open_place(read_place("ecs=https://siem.example/in"))])
for event in vm.events():
    outlet.put(event)
outlet.close()
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from vmon.core.ecs import Origin
from vmon.core.errors import VmonError
from vmon.core.records.output import OutputRecord
from vmon.core.records.probe import NoticeRecord
from vmon.core.told import Told
from vmon.export.metrics import Metrics
from vmon.sinks.queue import Queue

NEW_KERNEL = "vmon.installed"


class Outlet:
    """Any number of queues, and counters, for the records of one machine. Queues may be shared by several outlets."""

    def __init__(
        self, origin: Callable[[], Origin], queues: Sequence[Queue] = (), metrics: Metrics | None = None
    ) -> None:
        """`origin` is asked now, and again when another kernel runs."""
        self._origin_now = origin
        self.origin = origin()
        self.queues = queues
        self.metrics = metrics

    def put(self, record: Told) -> None:
        """To all of them; waits for none."""
        if isinstance(record, NoticeRecord) and record.event == NEW_KERNEL:
            with contextlib.suppress(VmonError):
                self.origin = self._origin_now()
        for queue in self.queues:
            queue.put(record, self.origin)
        if self.metrics is not None:
            self.metrics.count(self.origin.target, record)

    def close(self) -> list[OutputRecord]:
        """Deliver what waits, a few seconds long at most; the totals of each."""
        return [queue.close() for queue in self.queues]
