from __future__ import annotations

from tests.unit.linux.small import Small
from vmon.core.coverage import Gaps
from vmon.linux.runqueue import WANTS, find_run_queues

STRUCTS = {
    "rq": "lock:u32 curr:p idle:p stop:p cfs_tasks:list_head",
    "sched_entity": "load:u64*2 group_node:list_head",
    "task_struct": "state:u64 se:sched_entity",
}


def made() -> tuple[Small, list[int], list[int]]:
    """Two CPUs: one runs a task and has another waiting, one idles."""
    small = Small(WANTS, STRUCTS, {"runqueues": 512, "__per_cpu_offset": 64, "nr_cpu_ids": 4})
    small.put(small.symbol("nr_cpu_ids"), 2, 4)
    queues = [small.symbol("runqueues"), small.symbol("runqueues") + 128]
    small.put(small.symbol("__per_cpu_offset") + 8, 128)
    tasks = [small.new("task_struct") for _ in range(4)]
    small.set(queues[0], "rq", curr=tasks[0], idle=tasks[2])
    small.set(queues[1], "rq", curr=tasks[3], idle=tasks[3])
    node = small.field(tasks[1], "task_struct", "se.group_node")
    small.chain(small.field(queues[0], "rq", "cfs_tasks"), [node])
    small.chain(small.field(queues[1], "rq", "cfs_tasks"), [])
    return small, queues, tasks


def test_who_runs_who_waits_and_who_idles() -> None:
    small, _, tasks = made()
    gaps = Gaps()
    found = find_run_queues(small.kernel(), gaps)
    assert found.running.tolist() == [tasks[0], tasks[3]]
    assert found.waiting.tolist() == [tasks[1]]
    assert found.idle.tolist() == [tasks[2], tasks[3]]
    assert gaps.records() == []


def test_a_queue_that_does_not_stand_still_is_told() -> None:
    small, queues, tasks = made()
    small.put(small.field(queues[0], "rq", "cfs_tasks"), 0xFFFF_C900_0000_0000)
    gaps = Gaps()
    found = find_run_queues(small.kernel(), gaps)
    assert found.running.tolist() == [tasks[0], tasks[3]]
    assert found.waiting.size == 0
    assert [gap.reason for gap in gaps.records()] == ["torn"]
