"""Each pid namespace has a table of numbers, an idr: it is what /proc lists and what kill(2) looks a number up in.

Reads pid_namespace, pid, and the task that each number leads to. It is independent of the list of tasks: a process
that was taken off one is still on the other. A hostile guest can lie about levels and namespaces: both are bounded.
When the guest forks or exits meanwhile, a number can be missing or lead to a task that is gone.
Sources: include/linux/pid_namespace.h, include/linux/pid.h, kernel/pid.c, fs/proc/base.c next_tgid().
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError
from vmon.kernel.columns import Column, unique
from vmon.kernel.profile import Wants
from vmon.linux import xarray
from vmon.linux.kernel import Kernel
from vmon.linux.namespace import MAX_PID_LEVEL
from vmon.linux.task import MAX_PID

MAX_NAMESPACES = 10_000
WANTS = xarray.WANTS | Wants(
    symbols=("init_pid_ns",),
    structs={
        "pid_namespace": "idr level ns.inum child_reaper",
        "pid": "level tasks numbers",
        "upid": "nr ns",
        "task_struct": "pid_links",
    },
)


@dataclass(frozen=True, slots=True)
class PidTable:
    """One namespace's numbers, as columns."""

    namespace: Gva
    level: int
    numbers: Column
    pids: Column
    """struct pid of each number."""
    tasks: Column
    """The task whose pid it is (a thread has one too); 0 where it is a group's or session's alone."""


def find_pid_tables(kernel: Kernel, gaps: Gaps) -> list[PidTable]:
    """The first namespace's table, then those of all namespaces below it that any pid is in."""
    found: dict[int, PidTable] = {}
    pending = [int(kernel.symbol("init_pid_ns"))]
    while pending:
        namespace = Gva(pending.pop(0))
        if namespace in found:
            continue
        if len(found) >= MAX_NAMESPACES:
            gaps.add("pid namespaces", "bounded", f"more than {MAX_NAMESPACES:,}")
            break
        try:
            found[namespace] = _read_table(kernel, namespace)
        except GuestDataError as error:
            gaps.add("pid namespaces", "unreadable", error.message)
            continue
        if not found[namespace].level:
            pending += _namespaces_below(kernel, found[namespace].pids)
    return list(found.values())


def _read_table(kernel: Kernel, namespace: Gva) -> PidTable:
    idr = Gva(namespace + kernel.offset("pid_namespace", "idr"))
    entries = xarray.find_idr_entries(kernel, idr, MAX_PID)
    pointers = (entries.values & np.uint64(1)) == 0
    pids = entries.values[pointers]
    level = int(kernel.read_one("pid_namespace", "level", namespace)["level"][0])
    return PidTable(
        namespace, min(level, MAX_PID_LEVEL), entries.indexes[pointers], pids, tasks_of(kernel, pids)
    )


def tasks_of(kernel: Kernel, pids: Column) -> Column:
    """The task of each struct pid: the first, and but for a moment of de_thread() the only one, of its hlist."""
    first = kernel.read("pid", "tasks", pids).words("tasks", 1).reshape(-1)
    links = np.uint64(kernel.offset("task_struct", "pid_links"))
    return np.where(first != 0, first - links, np.uint64(0))


def _namespaces_below(kernel: Kernel, pids: Column) -> list[int]:
    levels = kernel.read("pid", "level", pids)["level"]
    stride, base = kernel.profile["upid"].size, kernel.offset("pid", "numbers")
    found: list[Column] = []
    for level in range(1, MAX_PID_LEVEL + 1):
        deep = pids[(levels >= level) & (levels <= MAX_PID_LEVEL)]
        if not deep.size:
            break
        found.append(kernel.read("upid", "ns", deep + np.uint64(base + level * stride))["ns"])
    inner: list[int] = unique(np.concatenate(found)).tolist() if found else []
    return [namespace for namespace in inner if namespace]
