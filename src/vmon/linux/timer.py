"""Each CPU keeps its timers of high resolution on a tree a clock, and its others on a wheel of lists.

Reads hrtimer_bases, timer_bases, and what a timer is a part of: a sleeping thread, a delayed work. A hostile guest can
bend trees and lists: both are bounded. Timers move all the time, many lie on a stack: a wheel whose links do not lead
back is read again, and what even then is not linked is left out and told.
Sources: kernel/time/hrtimer.c, kernel/time/timer.c, include/linux/timer.h, kernel/workqueue.c.
"""

from __future__ import annotations

import numpy as np

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure, GuestDataError
from vmon.core.records.deferred import TimerRecord
from vmon.kernel.columns import Column
from vmon.kernel.profile import Wants
from vmon.linux import percpu, rbtree
from vmon.linux.hlist import walk_heads
from vmon.linux.kernel import Kernel
from vmon.linux.system import read_jiffies
from vmon.linux.where import Where

HRTIMER_FIELDS = "node.expires function is_soft"
TIMER_FIELDS = "entry.pprev expires function flags"
WANTS = (
    rbtree.WANTS
    | rbtree.PARENT_WANTS
    | percpu.WANTS
    | Wants(
        symbols=(
            *("hrtimer_bases", "timer_bases", "jiffies_64"),
            *("hrtimer_wakeup", "process_timeout", "delayed_work_timer_fn"),
        ),
        structs={
            "hrtimer_cpu_base": "clock_base",
            "hrtimer_clock_base": "active clockid",
            "hrtimer": HRTIMER_FIELDS,
            "hrtimer_sleeper": "task",
            "timer_base": "cpu clk vectors",
            "timer_list": TIMER_FIELDS,
            "process_timer": "task",
            "delayed_work": "timer work.func",
            "task_struct": "pid",
        },
    )
)
MAX_TIMERS = 1 << 20
MAX_BASES = 3
"""Wheels of a CPU: of two kinds, of three since 6.9 (83a665dc99a7, pinned timers)."""
MAX_CLOCK_AWAY = 1 << 32
TRIES = 3
CLOCKS = {0: "realtime", 1: "monotonic", 7: "boottime", 11: "tai"}
FLAGS = {1 << 19: "deferrable", 1 << 20: "pinned", 1 << 21: "irqsafe"}


def find_timers(kernel: Kernel, where: Where, gaps: Gaps) -> list[TimerRecord]:
    """Every timer that is set, CPU by CPU. BadStructure where trees or lists do not end."""
    records: list[TimerRecord] = []
    for cpu, offset in percpu.find_online(kernel):
        if "hrtimer_clock_base" in kernel.profile.structs:
            records += _hrtimers(kernel, where, gaps, cpu, percpu.own(kernel, "hrtimer_bases", offset))
        if "timer_base" in kernel.profile.structs:
            records += _wheel(kernel, where, gaps, cpu, percpu.own(kernel, "timer_bases", offset))
    for name in ("hrtimer_clock_base", "timer_base"):
        if name not in kernel.profile.structs:
            gaps.add("timers", "not on this kernel", name)
    return records


def _hrtimers(kernel: Kernel, where: Where, gaps: Gaps, cpu: int, base: Gva) -> list[TimerRecord]:
    clocks = kernel.profile["hrtimer_cpu_base"]["clock_base"]
    size = kernel.profile["hrtimer_clock_base"].size
    active = kernel.offset("hrtimer_clock_base", "active")
    records = []
    for number in range(clocks.count):
        place = base + clocks.offset + number * size
        clock = int(kernel.read_one("hrtimer_clock_base", "clockid", place)["clockid"][0])
        records += _timers_of_tree(
            kernel, where, gaps, cpu, CLOCKS.get(clock, str(clock)), Gva(place + active)
        )
    return records


def _timers_of_tree(
    kernel: Kernel, where: Where, gaps: Gaps, cpu: int, clock: str, root: Gva
) -> list[TimerRecord]:
    """Timers of one clock that are in its tree still when they were read. A gap where some are not, time after time.

    The tree's root is the first thing in what holds the active timers, its node the first in a timer.
    """
    records: list[TimerRecord] = []
    for left in reversed(range(TRIES)):
        seen = Gaps()
        try:
            nodes = rbtree.walk_tree(kernel, root, "hrtimers", seen, MAX_TIMERS)
        except BadStructure:
            if not left:
                raise
            continue  # it was turned meanwhile
        timers = np.array(nodes, dtype=np.uint64)
        columns = kernel.read("hrtimer", HRTIMER_FIELDS, timers)
        functions = columns["function"]
        pids = _sleepers(kernel, timers, functions, "hrtimer_wakeup", "hrtimer_sleeper")
        linked = rbtree.are_linked(kernel, root, timers)
        records = [
            TimerRecord(
                kind="hrtimer",
                cpu=cpu,
                clock=clock,
                expires=int(columns.signed("node.expires")[row]),
                function=where.text(int(functions[row])),
                function_address=int(functions[row]),
                work=None,
                pid=pids[row],
                state=["soft"] if columns["is_soft"][row] else [],
            )
            for row in np.flatnonzero(linked).tolist()
        ]
        if not linked.all():
            seen.add("timers", "torn", "no longer in the tree where they were met", int((~linked).sum()))
        if not seen.records():
            break
    gaps.add_all(seen.records())
    return records


def _wheel(kernel: Kernel, where: Where, gaps: Gaps, cpu: int, first: Gva) -> list[TimerRecord]:
    layout = kernel.profile["timer_base"]
    jiffies = read_jiffies(kernel)
    records = []
    for number in range(MAX_BASES):
        base = first + number * layout.size
        columns = kernel.read_one("timer_base", "cpu clk", base)
        # How many there are no type tells: one more would have to count this CPU's ticks.
        away = abs(int(columns["clk"][0]) - jiffies)
        if int(columns["cpu"][0]) != cpu or away > MAX_CLOCK_AWAY:
            break
        vectors = layout["vectors"]
        records += _timers_of(kernel, where, gaps, cpu, Gva(base + vectors.offset), vectors.count)
    return records


def _timers_of(
    kernel: Kernel, where: Where, gaps: Gaps, cpu: int, heads: Gva, count: int
) -> list[TimerRecord]:
    """Timers of one wheel that are linked where they were met. A gap where some are not, time after time."""
    records: list[TimerRecord] = []
    for _ in range(TRIES):
        seen = Gaps()
        records = []
        try:
            met = walk_heads(kernel, heads, count, "timers", seen, MAX_TIMERS)
        except GuestDataError as error:
            seen.add("timers", "torn", error.message)
            continue
        columns = kernel.read("timer_list", TIMER_FIELDS, met)
        functions = columns["function"]
        pids = _sleepers(kernel, met, functions, "process_timeout", "process_timer")
        works = _works(kernel, met, functions)
        # What points to a timer it says itself; one that ran out on a stack is overwritten at once. Asked last of all.
        linked = kernel.memory.gather(columns["entry.pprev"], 8).view("<u8").reshape(-1) == met
        for row in np.flatnonzero(linked).tolist():
            flags, work = int(columns["flags"][row]), works[row]
            records.append(
                TimerRecord(
                    kind="timer",
                    cpu=cpu,
                    clock="jiffies",
                    expires=int(columns["expires"][row]),
                    function=where.text(int(functions[row])),
                    function_address=int(functions[row]),
                    work=None if work is None else where.text(work),
                    pid=pids[row],
                    state=[name for bit, name in FLAGS.items() if flags & bit],
                )
            )
        if linked.all() and not seen.records():
            break
        if not linked.all():
            seen.add("timers", "torn", "no longer linked where they were met", int((~linked).sum()))
    gaps.add_all(seen.records())
    return records


def _sleepers(
    kernel: Kernel, timers: Column, functions: Column, symbol: str, struct: str
) -> list[int | None]:
    """Pid of the thread that each timer wakes; None for timers of another function."""
    if not kernel.has_symbol(symbol) or struct not in kernel.profile.structs:
        return [None] * timers.size
    tasks = kernel.read(struct, "task", timers)["task"]
    pids = kernel.read("task_struct", "pid", tasks)["pid"].tolist()
    wakes = ((functions == np.uint64(kernel.symbol(symbol))) & kernel.memory.mapped(tasks)).tolist()
    return [pid if wake else None for pid, wake in zip(pids, wakes, strict=True)]


def _works(kernel: Kernel, timers: Column, functions: Column) -> list[int | None]:
    """The function that each delayed work runs; None for timers of another function."""
    if not kernel.has_symbol("delayed_work_timer_fn") or "delayed_work" not in kernel.profile.structs:
        return [None] * timers.size
    works = timers - np.uint64(kernel.offset("delayed_work", "timer"))
    runs = kernel.read("delayed_work", "work.func", works)["work.func"].tolist()
    delayed = (functions == np.uint64(kernel.symbol("delayed_work_timer_fn"))).tolist()
    return [run if is_delayed else None for run, is_delayed in zip(runs, delayed, strict=True)]
