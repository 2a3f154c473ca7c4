from __future__ import annotations

import pytest

from tests.unit.linux.small import Small
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure
from vmon.core.records.machine import LoadRecord
from vmon.linux.load import WANTS, read_load, read_uptime_ns

STRUCTS = {
    "tk_read_base": "clock:p mult:u32 shift:u32 xtime_nsec:u64 base:s64",
    "timekeeper": "tkr_mono:tk_read_base xtime_sec:u64 offs_boot:s64",
    "kernel_cpustat": "cpustat:u64*10",
}
KINDS = "USER NICE SYSTEM SOFTIRQ IRQ IDLE IOWAIT STEAL GUEST GUEST_NICE"
ENUMS = {"cpu_usage_stat": {f"CPUTIME_{name}": place for place, name in enumerate(KINDS.split())}}
SYMBOLS = {
    **{
        "__cpu_online_mask": 16,
        "__per_cpu_offset": 32,
        "nr_cpu_ids": 4,
        "avenrun": 24,
        "kernel_cpustat": 512,
    },
}
STEP = 128
SECOND = 10**9


def made(clock: str = "tk_core", structs: dict[str, str] = STRUCTS) -> Small:
    """Three CPUs, of which the second is not online."""
    small = Small(WANTS, structs, {**SYMBOLS, clock: 128}, ENUMS)
    small.put(small.symbol("__cpu_online_mask"), 0b101)
    small.put(small.symbol("nr_cpu_ids"), 3, 4)
    for cpu in range(3):
        small.put(small.symbol("__per_cpu_offset") + 8 * cpu, STEP * cpu)
        for place in range(10):
            small.put(
                small.symbol("kernel_cpustat") + STEP * cpu + 8 * place, (place + 1 + 10 * cpu) * SECOND
            )
    for place, load in enumerate((0.5, 1.25, 3.0)):
        small.put(small.symbol("avenrun") + 8 * place, int(load * 2048))
    if "tk_read_base" in structs:
        at = small.symbol(clock) + 8
        small.set(at, "timekeeper", **{"offs_boot": 3 * SECOND})
        base = small.field(at, "timekeeper", "tkr_mono.base")
        small.put(base, 100 * SECOND)
        small.put(small.field(at, "timekeeper", "tkr_mono.xtime_nsec"), (SECOND // 2) << 8)
        small.put(small.field(at, "timekeeper", "tkr_mono.shift"), 8, 4)
    return small


@pytest.mark.parametrize("clock", ["tk_core", "timekeeper_data"])
def test_clock_load_and_busy_cpus(clock: str) -> None:
    gaps = Gaps()
    found = read_load(made(clock).kernel(), gaps)
    # user, nice, system, softirq, irq and steal; neither idle nor guest, which is in user.
    assert found == LoadRecord(
        uptime_ns=103_500_000_000, load_1=0.5, load_5=1.25, load_15=3.0, cpus=[0, 2], busy=[23.0, 143.0]
    )
    assert gaps.records() == []


def test_a_clock_that_can_not_be() -> None:
    small = made()
    small.put(small.field(small.symbol("tk_core") + 8, "timekeeper", "tkr_mono.base"), 1 << 63)
    with pytest.raises(BadStructure):
        read_uptime_ns(small.kernel())
    small.put(small.field(small.symbol("tk_core") + 8, "timekeeper", "tkr_mono.shift"), 0xFFFF_FFFF, 4)
    with pytest.raises(BadStructure):
        read_uptime_ns(small.kernel())


def test_what_can_not_be_read_is_told_and_the_rest_is_there() -> None:
    small = made()
    small.put(small.symbol("avenrun"), (1 << 64) - 1)
    small.put(small.field(small.symbol("tk_core") + 8, "timekeeper", "tkr_mono.base"), 1 << 63)
    gaps = Gaps()
    found = read_load(small.kernel(), gaps)
    assert (found.uptime_ns, found.load_1, found.cpus) == (None, None, [0, 2])
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [
        ("uptime", "unreadable"),
        ("load", "unreadable"),
    ]


def test_a_kernel_that_has_none_of_it() -> None:
    small = Small(
        WANTS,
        {"list": "next:p"},
        {"nr_cpu_ids": 4, "__per_cpu_offset": 8, "__cpu_online_mask": 8, "tk_core": 8},
    )
    gaps = Gaps()
    found = read_load(small.kernel(), gaps)
    assert found == LoadRecord(uptime_ns=None, load_1=None, load_5=None, load_15=None, cpus=[], busy=[])
    assert {gap.what for gap in gaps.records()} >= {"uptime", "load"}
