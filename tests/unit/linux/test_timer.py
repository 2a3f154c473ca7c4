from __future__ import annotations

import pytest

from tests.unit.linux.small import IMAGE_GVA, Small
from tests.unit.linux.test_where import where
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure
from vmon.core.records.deferred import TimerRecord
from vmon.linux.timer import WANTS, find_timers

COMMON = {
    "rb_root": "rb_node:p",
    "rb_node": "__rb_parent_color:u64 rb_right:p rb_left:p",
    "rb_node_linked": "node:rb_node prev:p next:p",
    "hlist_node": "next:p pprev:p",
    "timer_list": "entry:hlist_node expires:u64 function:p flags:u32",
    "timer_base": "lock:u32 clk:u64 cpu:u32 vectors:p*4",
    "work_struct": "data:u64 entry:list_head func:p",
    "delayed_work": "work:work_struct timer:timer_list",
    "process_timer": "timer:timer_list task:p",
    "task_struct": "flags:u32 pid:u32",
}
TREE = "cpu_base:p index:u32 clockid:u32 active:rb_root leftmost:p"
OLD = {
    **COMMON,
    "timerqueue_node": "node:rb_node expires:s64",
    "hrtimer": "node:timerqueue_node _softexpires:s64 function:p is_soft:u8",
}
NEW = {
    **COMMON,
    "timerqueue_node": "node:rb_node_linked expires:s64",
    "hrtimer": "node:timerqueue_node is_soft:u8 _softexpires:s64 function:p",
}
for structs in (OLD, NEW):
    structs |= {
        "hrtimer_clock_base": TREE,
        "hrtimer_cpu_base": "cpu:u32 clock_base:hrtimer_clock_base*2",
        "hrtimer_sleeper": "timer:hrtimer task:p",
    }
SYMBOLS = {
    "__cpu_online_mask": 16,
    "__per_cpu_offset": 8,
    "nr_cpu_ids": 4,
    "jiffies_64": 8,
    "hrtimer_bases": 128,
    "timer_bases": 256,
    "hrtimer_wakeup": 16,
    "process_timeout": 16,
    "delayed_work_timer_fn": 16,
}
WILD = 0xFFFF_C900_0000_0000
FUNCTION = IMAGE_GVA + 0x8000


class Machine:
    """One CPU, whose own variables are the symbols themselves."""

    def __init__(self, structs: dict[str, str]) -> None:
        self.small = small = Small(WANTS, structs, SYMBOLS)
        small.put(small.symbol("__cpu_online_mask"), 1)
        small.put(small.symbol("nr_cpu_ids"), 1, 4)
        small.put(small.symbol("jiffies_64"), 5000)
        for number in range(2):
            self.wheel(number)
        # Behind the wheels lies something else.
        small.set(self.wheel(2), "timer_base", cpu=77)
        for number, clock in enumerate((1, 0)):
            small.set(self.clock(number), "hrtimer_clock_base", clockid=clock)
        self.task = small.new("task_struct", pid=42)

    def clock(self, number: int) -> int:
        small = self.small
        base = small.symbol("hrtimer_bases") + small.profile["hrtimer_cpu_base"].offset("clock_base")
        return base + number * small.profile["hrtimer_clock_base"].size

    def wheel(self, number: int) -> int:
        small = self.small
        base = small.symbol("timer_bases") + number * small.profile["timer_base"].size
        small.set(base, "timer_base", cpu=0, clk=4990)
        return base

    def arm(self, clock: int, timer: int) -> None:
        self.small.put(self.small.field(self.clock(clock), "hrtimer_clock_base", "active"), timer)

    def hang(self, wheel: int, vector: int, timer: int) -> None:
        base = self.small.symbol("timer_bases") + wheel * self.small.profile["timer_base"].size
        self.link(self.small.field(base, "timer_base", "vectors") + 8 * vector, timer)

    def link(self, place: int, timer: int) -> None:
        """What lies at `place` points to the timer, and the timer back."""
        self.small.put(place, timer)
        self.small.put(timer + 8, place)

    def timers(self, gaps: Gaps | None = None) -> list[TimerRecord]:
        gaps = gaps or Gaps()
        small = self.small
        names = {
            name: small.symbol(name)
            for name in ("hrtimer_wakeup", "process_timeout", "delayed_work_timer_fn")
        }
        return find_timers(small.kernel(), where(small, gaps, **names, tick=FUNCTION), gaps)


@pytest.mark.parametrize("structs", [OLD, NEW], ids=["plain tree", "linked tree"])
def test_timers_of_trees_and_wheels(structs: dict[str, str]) -> None:
    machine, gaps = Machine(structs), Gaps()
    small = machine.small
    tick = small.new("hrtimer", function=FUNCTION + 1, is_soft=1, node__expires=-5)
    sleeper = small.new("hrtimer_sleeper", task=machine.task)
    small.set(sleeper, "hrtimer", function=small.symbol("hrtimer_wakeup"), node__expires=700)
    machine.arm(0, tick)
    machine.arm(1, sleeper)
    plain = small.new("timer_list", function=FUNCTION, expires=6000, flags=1 << 19)
    process = small.new("process_timer", task=machine.task)
    small.set(process, "timer_list", function=small.symbol("process_timeout"), expires=6001)
    machine.link(plain, process)
    work = small.new("delayed_work", work__func=FUNCTION)
    delayed = small.field(work, "delayed_work", "timer")
    small.set(delayed, "timer_list", function=small.symbol("delayed_work_timer_fn"), flags=1 << 21)
    machine.hang(0, 2, plain)
    machine.hang(1, 0, delayed)
    found = machine.timers(gaps)
    assert [(r.kind, r.clock, r.expires, r.function, r.work, r.pid, r.state) for r in found] == [
        ("hrtimer", "monotonic", -5, "tick+0x1", None, None, ["soft"]),
        ("hrtimer", "realtime", 700, "hrtimer_wakeup", None, 42, []),
        ("timer", "jiffies", 6000, "tick", None, None, ["deferrable"]),
        ("timer", "jiffies", 6001, "process_timeout", None, 42, []),
        ("timer", "jiffies", 0, "delayed_work_timer_fn", "tick", None, ["irqsafe"]),
    ]
    assert {record.cpu for record in found} == {0}
    assert found[0].function_address == FUNCTION + 1
    assert gaps.records() == []


def test_trees_and_lists_that_lie() -> None:
    machine, gaps = Machine(OLD), Gaps()
    small = machine.small
    machine.arm(0, WILD)
    again = small.new("timer_list", function=FUNCTION)
    small.put(again, again)
    machine.hang(0, 0, again)
    machine.hang(1, 0, small.new("timer_list", function=FUNCTION))
    assert [record.function for record in machine.timers(gaps)] == ["tick"]
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [
        ("hrtimers", "unreadable"),
        ("timers", "torn"),
    ]
    timer = small.new("hrtimer")
    small.set(timer, "rb_node", rb_left=timer)
    machine.arm(0, timer)
    with pytest.raises(BadStructure, match="runs into itself"):
        machine.timers()


def test_a_timer_that_is_gone_when_it_is_read() -> None:
    machine, gaps = Machine(OLD), Gaps()
    small = machine.small
    there, gone = (small.new("timer_list", function=FUNCTION, expires=n) for n in (6000, 6001))
    machine.hang(0, 1, there)
    machine.link(there, gone)
    small.put(gone + 8, WILD)
    assert [record.expires for record in machine.timers(gaps)] == [6000]
    assert [(gap.what, gap.reason, gap.count) for gap in gaps.records()] == [("timers", "torn", 1)]


def test_a_timer_of_a_tree_that_is_gone_when_it_is_read() -> None:
    machine, gaps = Machine(OLD), Gaps()
    small = machine.small
    there, gone = (small.new("hrtimer", function=FUNCTION, node__expires=n) for n in (6000, 6001))
    small.set(there, "rb_node", rb_right=gone)
    small.set(gone, "rb_node", __rb_parent_color=WILD)
    machine.arm(0, there)
    assert [record.expires for record in machine.timers(gaps)] == [6000]
    assert [(gap.what, gap.reason, gap.count) for gap in gaps.records()] == [("timers", "torn", 1)]


def test_a_kernel_whose_timers_vmon_does_not_know() -> None:
    small, gaps = Small(WANTS, {}, SYMBOLS), Gaps()
    small.put(small.symbol("__cpu_online_mask"), 1)
    small.put(small.symbol("nr_cpu_ids"), 1, 4)
    assert find_timers(small.kernel(), where(small, gaps), gaps) == []
    assert [gap.reason for gap in gaps.records()] == ["not on this kernel", "not on this kernel"]
