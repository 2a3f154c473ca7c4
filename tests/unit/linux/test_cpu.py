from __future__ import annotations

import pytest

from tests.unit.linux.small import Small
from vmon.core.coverage import Gaps
from vmon.core.records.machine import CpuRecord
from vmon.linux.cpu import WANTS, find_cpus

COMMON = {
    "cpuinfo_x86": "x86:u8 x86_model:u8 x86_stepping:u8 x86_vendor_id:char*16 x86_model_id:char*64 microcode:u32",
    "tick_sched": "idle_sleeptime:s64 iowait_sleeptime:s64",
}
OLD = {**COMMON, "kernel_cpustat": "cpustat:u64*10"}
NEW = {**COMMON, "kernel_cpustat": "idle_entrytime:u64 cpustat:u64*10"}
KINDS = "USER NICE SYSTEM SOFTIRQ IRQ IDLE IOWAIT STEAL GUEST GUEST_NICE"
ENUMS = {"cpu_usage_stat": {f"CPUTIME_{name}": place for place, name in enumerate(KINDS.split())}}
SYMBOLS = {
    **{"__cpu_online_mask": 16, "__cpu_present_mask": 16, "__per_cpu_offset": 16, "nr_cpu_ids": 4},
    **{"cpu_info": 512, "kernel_cpustat": 512, "tick_cpu_sched": 512, "tick_nohz_active": 4},
}
STEP = 128
SECOND = 10**9
WILD = 0x0000_0900_0000_0000


def made(structs: dict[str, str]) -> Small:
    """Two CPUs, of which the first is online."""
    small = Small(WANTS, structs, SYMBOLS, ENUMS)
    small.put(small.symbol("__cpu_present_mask"), 3)
    small.put(small.symbol("__cpu_online_mask"), 1)
    small.put(small.symbol("nr_cpu_ids"), 2, 4)
    small.put(small.symbol("__per_cpu_offset") + 8, STEP)
    small.put(small.symbol("tick_nohz_active"), 1, 4)
    for cpu in range(2):
        info = small.symbol("cpu_info") + STEP * cpu
        small.set(info, "cpuinfo_x86", x86=6, x86_model=143, x86_stepping=8, microcode=0x2B)
        small.set(info, "cpuinfo_x86", x86_vendor_id=b"GenuineIntel", x86_model_id=b"Some CPU  ")
        stat = small.field(small.symbol("kernel_cpustat") + STEP * cpu, "kernel_cpustat", "cpustat")
        for place in range(10):
            small.put(stat + 8 * place, (place + 1 + 10 * cpu) * SECOND)
        tick = small.symbol("tick_cpu_sched") + STEP * cpu
        small.set(tick, "tick_sched", idle_sleeptime=77 * SECOND, iowait_sleeptime=3 * SECOND // 2)
    return small


def test_what_cpus_are_and_where_their_time_went() -> None:
    gaps = Gaps()
    first, second = find_cpus(made(OLD).kernel(), gaps)
    assert first == CpuRecord(
        cpu=0,
        online=True,
        user=1.0,
        nice=2.0,
        system=3.0,
        softirq=4.0,
        irq=5.0,
        idle=77.0,
        iowait=1.5,
        steal=8.0,
        guest=9.0,
        guest_nice=10.0,
        vendor="GenuineIntel",
        model_name="Some CPU",
        family=6,
        model=143,
        stepping=8,
        microcode=0x2B,
    )
    assert (second.cpu, second.online, second.user) == (1, False, 11.0)
    assert gaps.records() == []


@pytest.mark.parametrize("ticks_stop", [True, False])
def test_idle_time_where_it_is_counted(ticks_stop: bool) -> None:
    small = made(NEW if ticks_stop else OLD)
    small.put(small.symbol("tick_nohz_active"), int(ticks_stop), 4)
    first, _ = find_cpus(small.kernel(), Gaps())
    assert (first.idle, first.iowait) == (6.0, 7.0)


def test_a_cpu_that_is_nowhere_is_told_and_the_others_are_there() -> None:
    small, gaps = made(OLD), Gaps()
    small.set(small.symbol("cpu_info") + STEP, "cpuinfo_x86", x86_model_id=b"\xff" * 64)
    assert find_cpus(small.kernel(), gaps)[1].model_name == "\udcff" * 64
    small.put(small.symbol("__per_cpu_offset") + 8, WILD)
    # What is not mapped reads as zeros: a CPU without a name.
    records = find_cpus(small.kernel(), gaps)
    assert [record.model_name for record in records] == ["Some CPU", ""]


def test_a_kernel_without_types_of_cpus() -> None:
    gaps = Gaps()
    assert find_cpus(Small(WANTS, {}, {}).kernel(), gaps) == []
    assert [gap.reason for gap in gaps.records()] == ["not on this kernel"]
