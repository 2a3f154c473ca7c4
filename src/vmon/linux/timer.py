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
from vmon.core.errors import GuestDataError
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
        # The tree's root is the first thing in what holds the active timers, its node the first in a timer.
        nodes = rbtree.walk_tree(kernel, Gva(place + active), "hrtimers", gaps, MAX_TIMERS)
        if not nodes:
            continue
        timers = np.array(nodes, dtype=np.uint64)
        columns = kernel.read("hrtimer", HRTIMER_FIELDS, timers)
        pids = _sleepers(kernel, timers, columns["function"], "hrtimer_wakeup", "hrtimer_sleeper")
        for row, function in enumerate(columns["function"].tolist()):
            records.append(
                TimerRecord(
                    kind="hrtimer",
                    cpu=cpu,
                    clock=CLOCKS.get(clock, str(clock)),
                    expires=int(columns.signed("node.expires")[row]),
                    function=where.text(function),
                    function_address=function,
                    work=None,
                    pid=pids[row],
                    state=["soft"] if columns["is_soft"][row] else [],
                )
            )
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
        timers = _linked(kernel, gaps, Gva(base + vectors.offset), vectors.count)
        records += _of_wheel(kernel, where, gaps, cpu, timers)
    return records


def _linked(kernel: Kernel, gaps: Gaps, heads: Gva, count: int) -> Column:
    """Timers of one wheel that are linked where they were met. A gap where some are not, time after time."""
    none: Column = np.zeros(0, dtype=np.uint64)
    for _ in range(TRIES):
        seen, timers = Gaps(), none
        try:
            met = walk_heads(kernel, heads, count, "timers", seen, MAX_TIMERS)
        except GuestDataError as error:
            seen.add("timers", "torn", error.message)
            continue
        # What points to a timer says so itself; a timer that ran out on a stack is overwritten at once.
        back = kernel.read("timer_list", TIMER_FIELDS, met)["entry.pprev"]
        linked = kernel.memory.gather(back, 8).view("<u8").reshape(-1) == met
        timers = met[linked]
        if linked.all() and not seen.records():
            break
        if not linked.all():
            seen.add("timers", "torn", "no longer linked where they were met", int((~linked).sum()))
    gaps.add_all(seen.records())
    return timers


def _of_wheel(kernel: Kernel, where: Where, gaps: Gaps, cpu: int, timers: Column) -> list[TimerRecord]:
    columns = kernel.read("timer_list", TIMER_FIELDS, timers)
    functions = columns["function"]
    pids = _sleepers(kernel, timers, functions, "process_timeout", "process_timer")
    works = _works(kernel, timers, functions, where)
    return [
        TimerRecord(
            kind="timer",
            cpu=cpu,
            clock="jiffies",
            expires=expires,
            function=where.text(function),
            function_address=function,
            work=work,
            pid=pid,
            state=[name for bit, name in FLAGS.items() if flags & bit],
        )
        for expires, function, flags, pid, work in zip(
            columns["expires"].tolist(),
            functions.tolist(),
            columns["flags"].tolist(),
            pids,
            works,
            strict=True,
        )
    ]


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


def _works(kernel: Kernel, timers: Column, functions: Column, where: Where) -> list[str | None]:
    """What each delayed work runs; None for timers of another function."""
    if not kernel.has_symbol("delayed_work_timer_fn") or "delayed_work" not in kernel.profile.structs:
        return [None] * timers.size
    works = timers - np.uint64(kernel.offset("delayed_work", "timer"))
    runs = kernel.read("delayed_work", "work.func", works)["work.func"].tolist()
    delayed = (functions == np.uint64(kernel.symbol("delayed_work_timer_fn"))).tolist()
    return [where.text(run) if is_delayed else None for run, is_delayed in zip(runs, delayed, strict=True)]
