"""What the guest's kernel will do later: timers, workqueues and their workers. Pure data."""

from __future__ import annotations

import msgspec


class TimerRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One timer that is set."""

    kind: str
    """hrtimer: of high resolution, on a tree; timer: of the timer wheel, counted in ticks."""
    cpu: int
    clock: str
    """monotonic, realtime, boottime, tai: what an hrtimer's expiry is counted by; jiffies for the wheel."""
    expires: int
    """When it is due: nanoseconds by that clock, or jiffies."""
    function: str
    """What is called then, `name`, `[module]+0xoffset`, or an address that is in no known code."""
    function_address: int
    work: str | None
    """What a delayed work will run; None for other timers."""
    pid: int | None
    """Thread that sleeps until then; None for other timers."""
    state: list[str]
    """Of an hrtimer soft; of the wheel deferrable, pinned, irqsafe."""


class WorkqueueRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One workqueue."""

    name: str
    flags: list[str]
    """unbound, freezable, mem_reclaim, highpri, cpu_intensive, sysfs, power_efficient, bh, ordered..."""
    max_active: int
    """Works that may run at once, a CPU or a node."""
    active: int
    """Works that run or wait for a worker."""
    rescuer_pid: int | None
    """Thread that works where no worker can be made; None where it has none."""
    pools: list[int]
    """Ids of the pools whose workers serve it."""


class WorkerPoolRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One pool of kworker threads."""

    id: int
    cpu: int | None
    """None for a pool that is bound to no CPU."""
    nice: int
    workers: int
    idle: int
    pending: int | None
    """Works that wait; None where they can't be counted."""
    worker_pids: list[int]
    running: list[str]
    """Functions that its workers are in."""
