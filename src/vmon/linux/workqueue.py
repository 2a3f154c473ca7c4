"""Work that the kernel defers is put on a workqueue; pools of kworker threads, which queues share, do it.

Reads workqueues, workqueue_struct, pool_workqueue, worker_pool_idr, worker_pool, worker. A hostile guest can bend the
lists: walks are bounded. Work comes and goes all the time: counts are of the moment at which each was read.
Sources: kernel/workqueue.c, kernel/workqueue_internal.h, include/linux/workqueue.h.
"""

from __future__ import annotations

import numpy as np

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError
from vmon.core.records.deferred import WorkerPoolRecord, WorkqueueRecord
from vmon.core.text import guest_text
from vmon.kernel.columns import text_rows
from vmon.kernel.profile import Wants
from vmon.linux import xarray
from vmon.linux.kernel import Kernel
from vmon.linux.task import walk_list
from vmon.linux.where import Where

QUEUE_FIELDS = "name flags saved_max_active rescuer"
POOL_FIELDS = "cpu nr_workers nr_idle attrs"
WANTS = xarray.WANTS | Wants(
    symbols=("workqueues", "worker_pool_idr"),
    structs={
        "workqueue_struct": "list pwqs " + QUEUE_FIELDS,
        "pool_workqueue": "pwqs_node pool nr_active",
        "worker_pool": "id worklist workers " + POOL_FIELDS,
        "worker": "node task current_func",
        "workqueue_attrs": "nice",
        "task_struct": "pid",
    },
)
MAX_QUEUES = 100_000
MAX_WORKERS = 200_000
MAX_PENDING = 1 << 20
NO_CPU = -1
FLAGS = {
    1 << 0: "bh",
    1 << 1: "unbound",
    1 << 2: "freezable",
    1 << 3: "mem_reclaim",
    1 << 4: "highpri",
    1 << 5: "cpu_intensive",
    1 << 6: "sysfs",
    1 << 7: "power_efficient",
    1 << 8: "percpu",
    1 << 15: "destroying",
    1 << 16: "draining",
    1 << 17: "ordered",
    1 << 18: "legacy",
}


def find_workqueues(kernel: Kernel, gaps: Gaps) -> list[WorkqueueRecord]:
    """Every workqueue, in the order in which they were made. BadStructure where their list does not end."""
    if not kernel.has_symbol("workqueues") or "workqueue_struct" not in kernel.profile.structs:
        gaps.add("workqueues", "not on this kernel")
        return []
    nodes = walk_list(kernel, kernel.symbol("workqueues"), "workqueues", MAX_QUEUES)
    queues = np.array(nodes, dtype=np.uint64) - np.uint64(kernel.offset("workqueue_struct", "list"))
    columns = kernel.read("workqueue_struct", QUEUE_FIELDS, queues)
    rescuers = kernel.read("worker", "task", columns["rescuer"])["task"]
    pids = kernel.read("task_struct", "pid", rescuers)["pid"].tolist()
    names = text_rows(columns.raw("name"))
    records = []
    for row, queue in enumerate(queues.tolist()):
        flags = int(columns["flags"][row])
        pools, active = _pools_of(kernel, queue, gaps)
        records.append(
            WorkqueueRecord(
                name=guest_text(names[row]),
                flags=[name for bit, name in FLAGS.items() if flags & bit],
                max_active=int(columns["saved_max_active"][row]),
                active=active,
                rescuer_pid=pids[row] if columns["rescuer"][row] else None,
                pools=pools,
            )
        )
    return records


def _pools_of(kernel: Kernel, queue: int, gaps: Gaps) -> tuple[list[int], int]:
    """Ids of the pools that serve a queue, and its works that are active in them."""
    offset = kernel.offset("pool_workqueue", "pwqs_node")
    try:
        head = Gva(queue + kernel.offset("workqueue_struct", "pwqs"))
        nodes = walk_list(kernel, head, "workqueue_struct.pwqs", MAX_QUEUES)
    except GuestDataError as error:
        gaps.add("pools", "unreadable", error.message)
        return [], 0
    columns = kernel.read(
        "pool_workqueue", "pool nr_active", np.array(nodes, dtype=np.uint64) - np.uint64(offset)
    )
    ids = kernel.read("worker_pool", "id", columns["pool"])["id"].tolist()
    return sorted(set(ids)), int(columns.signed("nr_active").sum())


def find_worker_pools(kernel: Kernel, where: Where, gaps: Gaps) -> list[WorkerPoolRecord]:
    """Every pool of workers by its id. BadStructure where their table is none."""
    if not kernel.has_symbol("worker_pool_idr") or "worker_pool" not in kernel.profile.structs:
        gaps.add("pools", "not on this kernel")
        return []
    found = xarray.find_idr_entries(kernel, kernel.symbol("worker_pool_idr"), MAX_QUEUES)
    columns = kernel.read("worker_pool", POOL_FIELDS, found.values)
    nices = kernel.read("workqueue_attrs", "nice", columns["attrs"]).signed("nice").tolist()
    cpus = columns.signed("cpu").tolist()
    records = []
    for row, (number, pool) in enumerate(zip(found.indexes.tolist(), found.values.tolist(), strict=True)):
        pids, functions = _workers(kernel, pool, gaps)
        records.append(
            WorkerPoolRecord(
                id=number,
                cpu=cpus[row] if cpus[row] != NO_CPU else None,
                nice=nices[row],
                workers=int(columns["nr_workers"][row]),
                idle=int(columns["nr_idle"][row]),
                pending=_pending(kernel, pool, gaps),
                worker_pids=pids,
                running=[where.text(function) for function in functions if function],
            )
        )
    return records


def _workers(kernel: Kernel, pool: int, gaps: Gaps) -> tuple[list[int], list[int]]:
    offset = kernel.offset("worker", "node")
    try:
        head = Gva(pool + kernel.offset("worker_pool", "workers"))
        nodes = walk_list(kernel, head, "worker_pool.workers", MAX_WORKERS)
    except GuestDataError as error:
        gaps.add("worker_pids", "unreadable", error.message)
        return [], []
    columns = kernel.read("worker", "task current_func", np.array(nodes, dtype=np.uint64) - np.uint64(offset))
    pids = kernel.read("task_struct", "pid", columns["task"])["pid"].tolist()
    # A worker of softirqs is no thread.
    return [pid for pid in pids if pid], columns["current_func"].tolist()


def _pending(kernel: Kernel, pool: int, gaps: Gaps) -> int | None:
    head = Gva(pool + kernel.offset("worker_pool", "worklist"))
    try:
        return len(walk_list(kernel, head, "worker_pool.worklist", MAX_PENDING))
    except GuestDataError as error:
        gaps.add("pending", "torn", error.message)
        return None
