from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import WORD_VALUES, steady
from tests.unit.linux.small import Small
from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError
from vmon.linux.pidtable import WANTS, find_pid_tables

STRUCTS = {
    "xarray": "xa_lock:u32 xa_flags:u32 xa_head:p",
    "xa_node": "shift:u8 offset:u8 count:u8 nr_values:u8 parent:p array:p list:u64*2 slots:p*64",
    "idr": "idr_rt:xarray idr_base:u32 idr_next:u32",
    "ns_common": "stashed:p ops:p inum:u32",
    "pid_namespace": "idr:idr level:u32 child_reaper:p ns:ns_common",
    "upid": "nr:s32 ns:p",
    "hlist_node": "next:p pprev:p",
    "pid": "count:u32 level:u32 tasks:p*4 numbers:upid*1",
    "task_struct": "state:u64 pid_links:hlist_node*4",
}


class Pids:
    """Two namespaces: pid 7 of the first is pid 1 of the second."""

    def __init__(self) -> None:
        small = self.small = Small(WANTS, STRUCTS, {"init_pid_ns": 256})
        self.first = small.symbol("init_pid_ns")
        self.inner = small.new("pid_namespace", level=1)
        self.tasks = [small.new("task_struct") for _ in range(3)]
        self.pids = [
            self.pid([(1, self.first)], 0),
            self.pid([(7, self.first), (1, self.inner)], 1),
            self.pid([], None),
        ]
        self.nodes = [
            self.table(self.first, {1: self.pids[0], 7: self.pids[1], 9: self.pids[2], 11: 0x2B}),
            self.table(self.inner, {1: self.pids[1]}),
        ]

    def pid(self, numbers: list[tuple[int, int]], task: int | None) -> int:
        small = self.small
        gva = small.new("pid", extra=64, level=max(len(numbers) - 1, 0))
        for place, (number, namespace) in enumerate(numbers):
            at = small.field(gva, "pid", "numbers") + 16 * place
            small.put(at, number, 4)
            small.put(at + 8, namespace)
        if task is not None:
            link = small.field(self.tasks[task], "task_struct", "pid_links")
            small.put(small.field(gva, "pid", "tasks"), link)
        return gva

    def table(self, namespace: int, entries: dict[int, int]) -> int:
        small = self.small
        node = small.new("xa_node")
        for number, value in entries.items():
            small.put(small.field(node, "xa_node", "slots") + 8 * number, value)
        small.put(small.field(namespace, "pid_namespace", "idr") + 8, node | 2)
        return node


def test_the_numbers_of_each_namespace_and_their_tasks() -> None:
    made, gaps = Pids(), Gaps()
    first, inner = find_pid_tables(made.small.kernel(), gaps)
    assert (first.namespace, first.level) == (made.first, 0)
    assert first.numbers.tolist() == [1, 7, 9]
    assert first.pids.tolist() == made.pids
    assert first.tasks.tolist() == [made.tasks[0], made.tasks[1], 0]
    assert (inner.namespace, inner.level) == (made.inner, 1)
    assert inner.numbers.tolist() == [1]
    assert inner.tasks.tolist() == [made.tasks[1]]
    assert gaps.records() == []


def test_a_namespace_that_is_nowhere_is_told_and_the_first_is_there() -> None:
    made, gaps = Pids(), Gaps()
    made.small.put(made.small.field(made.pids[1], "pid", "numbers") + 24, 0xFFFF_C900_0000_0000)
    tables = find_pid_tables(made.small.kernel(), gaps)
    assert [table.level for table in tables] == [0]
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [("pid namespaces", "unreadable")]


@steady(40)
@given(st.lists(WORD_VALUES, max_size=20), WORD_VALUES)
def test_any_words(words: list[int], namespace: int) -> None:
    made = Pids()
    for number, word in enumerate(words):
        made.small.put(made.pids[1] + 8 * number, word)
    made.small.put(made.nodes[1] + 8, namespace)
    try:
        tables = find_pid_tables(made.small.kernel(calls_limit=2000), Gaps())
    except GuestDataError:
        return
    assert tables[0].numbers.tolist() == [1, 7, 9]
