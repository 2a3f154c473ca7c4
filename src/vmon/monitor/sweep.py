"""A sweep compares snapshots: it sees processes start and end without ever writing to the guest.

Reads the guest at each step. What starts and ends between two steps is missed; watching without gaps needs the probe.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from vmon.monitor.machine import VirtualMachine
from vmon.monitor.process import Process


@dataclass(frozen=True, slots=True)
class Change:
    """A process that appeared or went between two snapshots."""

    kind: Literal["started", "ended"]
    process: Process


def sweep(vm: VirtualMachine, interval_s: float = 0.05, timeout_s: float | None = None) -> Iterator[Change]:
    """Changes from now on, oldest first, until `timeout_s` has passed; for ever without one."""
    before = {process.key: process for process in vm.processes()}
    deadline = time.monotonic() + timeout_s if timeout_s is not None else None
    while deadline is None or time.monotonic() < deadline:
        time.sleep(interval_s)
        after = {process.key: process for process in vm.processes()}
        for key, process in after.items():
            if key not in before:
                yield Change("started", process)
        for key, process in before.items():
            if key not in after:
                yield Change("ended", process)
        before = after
