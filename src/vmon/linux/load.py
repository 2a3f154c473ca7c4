"""How long the kernel runs, how busy it is, and how long each CPU was busy: what a screen asks for once a second.

Reads timekeeper, avenrun, kernel_cpustat. The clock is as of the last tick: of an idle guest up to a second old. A
hostile guest can write any number; CPUs are bounded. Sources: kernel/time/timekeeping.c, kernel/sched/loadavg.c,
kernel/sched/cputime.c.
"""

from __future__ import annotations

import numpy as np

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure, GuestDataError
from vmon.core.records.machine import LoadRecord
from vmon.kernel.profile import Wants
from vmon.linux import cpu, percpu
from vmon.linux.kernel import Kernel

CLOCK_FIELDS = "tkr_mono.base tkr_mono.xtime_nsec tkr_mono.shift offs_boot"
WANTS = percpu.WANTS | Wants(
    symbols=("tk_core", "timekeeper_data", "avenrun", "kernel_cpustat"),
    structs={"timekeeper": CLOCK_FIELDS, "kernel_cpustat": "cpustat"},
    enums=("cpu_usage_stat",),
)
BUSY = ("user", "nice", "system", "softirq", "irq", "steal")
FIXED_1 = 1 << 11
MOST_LOAD = 1 << 24
NS_PER_SECOND = 1_000_000_000


def read_load(kernel: Kernel, gaps: Gaps) -> LoadRecord:
    """The clock, the averages and the CPUs' busy times, in some five reads. What can't be read is told in `gaps`."""
    averages: tuple[float | None, ...] = (None, None, None)
    busy: dict[int, float] = {}
    uptime = None
    try:
        uptime = read_uptime_ns(kernel)
    except GuestDataError as error:
        gaps.add("uptime", "unreadable", error.message)
    try:
        averages = _read_averages(kernel)
    except GuestDataError as error:
        gaps.add("load", "unreadable", error.message)
    try:
        busy = _read_busy(kernel)
    except (GuestDataError, KeyError) as error:
        gaps.add("cpus", "unreadable", str(error))
    one, five, fifteen = averages
    return LoadRecord(
        uptime_ns=uptime, load_1=one, load_5=five, load_15=fifteen, busy=[*busy.values()], cpus=[*busy]
    )


def read_uptime_ns(kernel: Kernel) -> int:
    """Nanoseconds since boot, suspended time included: the clock that processes' start times are told by."""
    symbol = "timekeeper_data" if kernel.has_symbol("timekeeper_data") else "tk_core"
    # The timekeeper is 8-aligned behind the sequence count.
    at = Gva(kernel.symbol(symbol) + 8)
    columns = kernel.read_one("timekeeper", CLOCK_FIELDS, at)
    try:
        base, fraction, shift, suspended = (int(columns[name][0]) for name in CLOCK_FIELDS.split())
    except KeyError:
        raise BadStructure("this kernel keeps its clock otherwise", field="timekeeper.tkr_mono") from None
    uptime = base + (fraction >> min(shift, 63)) + suspended
    if not 0 <= uptime < 1 << 62:
        raise BadStructure("an impossible time since boot", field="timekeeper.tkr_mono", address=at)
    return uptime


def _read_averages(kernel: Kernel) -> tuple[float, ...]:
    at = kernel.symbol("avenrun")
    words = [kernel.memory.u64(Gva(at + 8 * place)) for place in range(3)]
    if max(words) >= MOST_LOAD * FIXED_1:
        raise BadStructure("an impossible load", field="avenrun", address=at)
    return tuple(round(word / FIXED_1, 2) for word in words)


def _read_busy(kernel: Kernel) -> dict[int, float]:
    """Seconds that each online CPU was not idle, all in one gather."""
    online = percpu.find_online(kernel)
    gvas = np.array([percpu.own(kernel, "kernel_cpustat", offset) for _, offset in online], dtype=np.uint64)
    kinds = kernel.profile.enums.get("cpu_usage_stat", {})
    places = [kinds.get(f"CPUTIME_{name.upper()}", cpu.TIMES.index(name)) for name in BUSY]
    words = kernel.read("kernel_cpustat", "cpustat", gvas).words("cpustat", max(places) + 1)
    totals = words[:, places].sum(axis=1).tolist()
    return {number: total / NS_PER_SECOND for (number, _), total in zip(online, totals, strict=True)}
