from __future__ import annotations

import pytest

from tests.unit.linux.small import IMAGE_GVA, Small
from tests.unit.linux.test_where import where
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure
from vmon.core.records.deferred import WorkerPoolRecord, WorkqueueRecord
from vmon.linux.workqueue import WANTS, find_worker_pools, find_workqueues

STRUCTS = {
    "xarray": "xa_lock:u32 xa_flags:u32 xa_head:p",
    "xa_node": "shift:u8 offset:u8 count:u8 nr_values:u8 parent:p slots:p*64",
    "idr": "idr_rt:xarray idr_base:u32 idr_next:u32",
    "workqueue_struct": "pwqs:list_head list:list_head rescuer:p saved_max_active:s32 name:char*24 flags:u32",
    "pool_workqueue": "pool:p wq:p nr_active:s32 pwqs_node:list_head",
    "workqueue_attrs": "nice:s32",
    "worker_pool": "lock:u32 cpu:s32 node:s32 id:s32 worklist:list_head nr_workers:s32 nr_idle:s32"
    " workers:list_head attrs:p",
    "worker": "entry:list_head current_func:p task:p node:list_head",
    "task_struct": "flags:u32 pid:u32",
}
WILD = 0xFFFF_C900_0000_0000
FUNCTION = IMAGE_GVA + 0x8000


def made() -> tuple[Small, int, int]:
    """A queue with a rescuer, served by one pool of two workers, one of them at work."""
    small = Small(WANTS, STRUCTS, {"workqueues": 16, "worker_pool_idr": 24})
    nice = small.new("workqueue_attrs", nice=-20)
    pool = small.new("worker_pool", cpu=-1, id=3, nr_workers=2, nr_idle=1, attrs=nice)
    workers = [
        small.new("worker", task=small.new("task_struct", pid=pid), current_func=function)
        for pid, function in ((50, FUNCTION), (51, 0))
    ]
    small.chain(
        small.field(pool, "worker_pool", "workers"), [small.field(at, "worker", "node") for at in workers]
    )
    small.chain(small.field(pool, "worker_pool", "worklist"), [small.alloc(16)])
    node = small.new("xa_node")
    small.put(small.field(node, "xa_node", "slots") + 8 * 3, pool)
    small.put(small.symbol("worker_pool_idr") + 8, node + 2)
    rescuer = small.new("worker", task=small.new("task_struct", pid=7))
    queue = small.new(
        "workqueue_struct", name=b"writeback", flags=0b1001010, saved_max_active=256, rescuer=rescuer
    )
    link = small.new("pool_workqueue", pool=pool, nr_active=2)
    small.chain(
        small.field(queue, "workqueue_struct", "pwqs"), [small.field(link, "pool_workqueue", "pwqs_node")]
    )
    small.chain(small.symbol("workqueues"), [small.field(queue, "workqueue_struct", "list")])
    return small, queue, pool


def test_queues_and_pools() -> None:
    small, _, _ = made()
    gaps = Gaps()
    assert find_workqueues(small.kernel(), gaps) == [
        WorkqueueRecord(
            name="writeback",
            flags=["unbound", "mem_reclaim", "sysfs"],
            max_active=256,
            active=2,
            rescuer_pid=7,
            pools=[3],
        )
    ]
    assert find_worker_pools(small.kernel(), where(small, gaps, wb_workfn=FUNCTION), gaps) == [
        WorkerPoolRecord(
            id=3,
            cpu=None,
            nice=-20,
            workers=2,
            idle=1,
            pending=1,
            worker_pids=[50, 51],
            running=["wb_workfn"],
        )
    ]
    assert gaps.records() == []


def test_lists_that_lie() -> None:
    small, queue, pool = made()
    small.put(small.field(queue, "workqueue_struct", "pwqs"), WILD)
    small.put(small.field(pool, "worker_pool", "workers"), WILD)
    works = small.kernel().memory.u64(small.field(pool, "worker_pool", "worklist"))  # type: ignore[arg-type]
    small.put(works, works)
    gaps = Gaps()
    assert [(record.pools, record.active) for record in find_workqueues(small.kernel(), gaps)] == [([], 0)]
    records = find_worker_pools(small.kernel(), where(small, gaps), gaps)
    assert [(record.worker_pids, record.pending) for record in records] == [([], None)]
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [
        ("pools", "unreadable"),
        ("worker_pids", "unreadable"),
        ("pending", "torn"),
    ]
    link = small.field(queue, "workqueue_struct", "list")
    small.put(link, link)
    with pytest.raises(BadStructure, match="runs into itself"):
        find_workqueues(small.kernel(), gaps)


def test_a_kernel_without_workqueues() -> None:
    small, gaps = Small(WANTS, {}, {}), Gaps()
    assert find_workqueues(small.kernel(), gaps) == []
    assert find_worker_pools(small.kernel(), where(small, gaps), gaps) == []
    assert [gap.reason for gap in gaps.records()] == ["not on this kernel", "not on this kernel"]
