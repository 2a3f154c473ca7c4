"""A task is on the list of tasks, in its parent's pid namespaces' tables, and in a slab; when it runs, on a run queue.

Reads all four and compares. A guest that forks and exits meanwhile makes them differ for a moment: what differs is
looked at again after a while, and only what still does is a finding. A hostile guest can take a task off one or two of
them; off all and still running it can't (what is on no run queue does not run).
Sources: kernel/fork.c copy_process(), kernel/exit.c release_task(), kernel/pid.c.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from vmon.check.kinds import finding
from vmon.check.looks import settled
from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError
from vmon.core.records.finding import FindingRecord
from vmon.core.text import guest_text
from vmon.kernel.columns import text_rows
from vmon.kernel.profile import Wants
from vmon.linux import pidtable, runqueue, slab, stack
from vmon.linux.kernel import Kernel

WANTS = (
    pidtable.WANTS
    | runqueue.WANTS
    | slab.WANTS
    | stack.WANTS
    | Wants(
        symbols=("task_struct_cachep", "init_task"),
        structs={"task_struct": "usage stack exit_state pid comm start_boottime|real_start_time"},
    )
)
LIST, TABLE, QUEUE, SLAB = "list of tasks", "pid table", "run queue", "slab"
NAMES = (LIST, TABLE, QUEUE, SLAB)


@dataclass(frozen=True, slots=True)
class Views:
    """Addresses of tasks, by what they were found by; idle tasks, which are on no list, left out."""

    by: dict[str, set[int]]
    numbers: dict[int, int]
    """Number in the first namespace's table, by task."""


def look(kernel: Kernel, gaps: Gaps) -> Views:
    """All views, once. 3 ms for a small guest."""
    queues = runqueue.find_run_queues(kernel, gaps)
    tables = pidtable.find_pid_tables(kernel, gaps)
    idle = {*queues.idle.tolist(), int(kernel.symbol("init_task"))}
    slots = _in_slabs(kernel, gaps)
    listed = set(stack.find_every_task(kernel).tolist())
    in_tables = {task for table in tables for task in table.tasks.tolist() if task}
    running = {*queues.running.tolist(), *queues.waiting.tolist()}
    first = tables[0] if tables else None
    numbers = dict(zip(first.tasks.tolist(), first.numbers.tolist(), strict=True)) if first else {}
    return Views(
        {LIST: listed - idle, TABLE: in_tables - idle, QUEUE: running - idle, SLAB: slots - idle}, numbers
    )


def _in_slabs(kernel: Kernel, gaps: Gaps) -> set[int]:
    """Tasks in use, by the pages of their slab cache; a slot that is free holds the last one's remains."""
    try:
        cache = Gva(kernel.memory.u64(kernel.symbol("task_struct_cachep")))
        slots = slab.find_slots(kernel, cache, gaps)
    except GuestDataError as error:
        gaps.add("slabs of task_struct", "unreadable", error.message)
        return set()
    columns = kernel.read("task_struct", "usage stack exit_state", slots)
    # release_task() lets go of the stack, and the last user of the task brings its count to zero.
    alive = (columns["stack"] != 0) & (columns["usage"] != 0) & (columns["exit_state"] == 0)
    found: set[int] = set(slots[alive].tolist())
    return found


def check_processes(kernel: Kernel, gaps: Gaps) -> list[FindingRecord]:
    """Tasks that some views have and others lack. 3 ms for a small guest where all agree."""
    return settled(lambda seen: _differences(kernel, look(kernel, seen)), gaps)


def _differences(kernel: Kernel, views: Views) -> dict[Hashable, FindingRecord]:
    listed, tables = views.by[LIST], views.by[TABLE]
    found = {("process.hidden", task) for task in (tables | views.by[QUEUE] | views.by[SLAB]) - listed}
    # One that ends is taken from the table a moment before it is taken from the list.
    found |= {("process.unlisted", task) for task in listed - tables}
    tasks = np.array(list(views.numbers), dtype=np.uint64)
    for task, pid in zip(
        tasks.tolist(), kernel.read("task_struct", "pid", tasks)["pid"].tolist(), strict=True
    ):
        if task and pid != views.numbers[task]:
            found.add(("process.pid", task))
    return dict(_report(kernel, kind, task, views) for kind, task in sorted(found))


def _report(kernel: Kernel, kind: str, task: int, views: Views) -> tuple[Hashable, FindingRecord]:
    columns = kernel.read_one("task_struct", "pid comm start_boottime", task)
    pid, start = int(columns["pid"][0]), int(columns["start_boottime"][0])
    name = guest_text(text_rows(columns.raw("comm"))[0])
    evidence = [f"task_struct at {task:#x}: pid {pid}, comm {name!r}, started {start / 1e9:.3f} s after boot"]
    if kind == "process.pid":
        evidence.append(f"number {views.numbers[task]} of init_pid_ns leads to it")
    else:
        evidence += [f"{'on' if task in views.by[view] else 'NOT on'}: {view}" for view in NAMES]
    return (kind, task, pid, start), finding(kind, f"process {pid} ({name})", evidence, pid=pid, address=task)
