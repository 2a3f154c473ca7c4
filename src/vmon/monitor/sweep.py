"""A sweep compares snapshots: it sees processes start and end without ever writing to the guest.

Reads the guest at each step. What starts and ends between two steps is missed; watching without gaps needs the probe.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from vmon.core.records.process import ProcessRecord
from vmon.monitor.machine import VirtualMachine
from vmon.monitor.process import Process


@dataclass(frozen=True, slots=True)
class Change:
    """A process that appeared, changed its program (exec), or went, between two snapshots."""

    kind: Literal["started", "changed", "ended"]
    process: Process
    """For an ended one, a handle on what is no more: ask `record`."""
    record: ProcessRecord
    """As it was when it was last seen alive."""


def sweep(vm: VirtualMachine, interval_s: float = 0.05, timeout_s: float | None = None) -> Iterator[Change]:
    """Changes from now on, oldest first, until `timeout_s` has passed; for ever without one.

    A step costs what processes() costs, and what record() costs when something is new.
    """
    before = {process.key: (process, process.record()) for process in vm.processes()}
    deadline = time.monotonic() + timeout_s if timeout_s is not None else None
    while deadline is None or time.monotonic() < deadline:
        time.sleep(interval_s)
        after = {process.key: process for process in vm.processes()}
        for key in [key for key in before if key not in after]:
            yield Change("ended", *before.pop(key))
        for key, process in after.items():
            known = before.get(key)
            if known is not None and known[1].name == process.name:
                continue
            record = process.record()
            before[key] = process, record
            yield Change("started" if known is None else "changed", process, record)
