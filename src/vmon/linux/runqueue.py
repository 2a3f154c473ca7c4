"""Each CPU has a run queue: the task that runs now, and those that wait to. No task runs without being on one.

Reads rq of every CPU. A hostile guest can bend the list of waiting tasks: bounded. When the guest schedules meanwhile,
a task can be on two queues or on none; the realtime and deadline classes' waiting tasks are not read, a running one is.
Sources: kernel/sched/sched.h, kernel/sched/fair.c account_entity_enqueue().
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError
from vmon.kernel.columns import Column, unique
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel
from vmon.linux.mm import read_percpu_offsets
from vmon.linux.task import MAX_TASKS, walk_list

WANTS = Wants(
    symbols=("runqueues", "__per_cpu_offset", "nr_cpu_ids"),
    structs={"rq": "curr idle stop cfs_tasks", "task_struct": "se.group_node"},
)


@dataclass(frozen=True, slots=True)
class RunQueues:
    """Addresses of tasks."""

    running: Column
    """rq->curr of each CPU, the idle task where nothing else runs."""
    waiting: Column
    """On a queue of the fair class."""
    idle: Column
    """Each CPU's idle task: on no list, by design."""


def find_run_queues(kernel: Kernel, gaps: Gaps) -> RunQueues:
    """Every CPU's. BadStructure where this kernel does not name its run queues."""
    places = [kernel.percpu("runqueues") + offset for offset in read_percpu_offsets(kernel)]
    queues = np.array([place & (1 << 64) - 1 for place in places], dtype=np.uint64)
    queues = queues[kernel.memory.mapped(queues)]
    columns = kernel.read("rq", "curr idle", queues)
    head, node = kernel.offset("rq", "cfs_tasks"), kernel.offset("task_struct", "se.group_node")
    waiting: list[int] = []
    for queue in queues.tolist():
        for attempt in range(3):
            try:
                entries = walk_list(kernel, Gva(queue + head), "rq.cfs_tasks", MAX_TASKS)
            except GuestDataError as error:
                if attempt == 2:
                    # It changes thousands of times a second: three tries, then it is said.
                    gaps.add("run queues", "torn", error.message)
                continue
            waiting += [entry - node for entry in entries]
            break
    running, idle = columns["curr"], columns["idle"]
    return RunQueues(
        unique(running[running != 0]), unique(np.array(waiting, dtype=np.uint64)), unique(idle[idle != 0])
    )
