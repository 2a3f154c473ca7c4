"""Each CPU has a description of itself and counts where its time goes.

Reads cpu_info, kernel_cpustat, tick_cpu_sched. Times grow while they are read; each CPU's are read at one moment. A
hostile guest can write any number. What an idle CPU has not counted yet is not there: the kernel adds it when asked.
Sources: fs/proc/stat.c, kernel/sched/cputime.c, kernel/time/tick-sched.c, arch/x86/include/asm/processor.h.
"""

from __future__ import annotations

from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError
from vmon.core.records.machine import CpuRecord
from vmon.core.text import guest_text
from vmon.kernel.columns import Columns, text_rows
from vmon.kernel.profile import Wants
from vmon.linux import percpu
from vmon.linux.kernel import Kernel
from vmon.linux.mm import read_percpu_offsets

INFO_FIELDS = "x86 x86_model x86_stepping x86_vendor_id x86_model_id microcode"
# A CPU whose tick stops keeps its idle time with the tick; where kernel_cpustat has idle_entrytime (7.2; not 6.18),
# with its other times.
TICK_FIELDS = "idle_sleeptime iowait_sleeptime"
WANTS = percpu.WANTS | Wants(
    symbols=("__cpu_present_mask", "cpu_info", "kernel_cpustat", "tick_cpu_sched", "tick_nohz_active"),
    structs={
        "cpuinfo_x86": INFO_FIELDS,
        "kernel_cpustat": "cpustat idle_entrytime",
        "tick_sched": TICK_FIELDS,
    },
    enums=("cpu_usage_stat",),
)
NS_PER_SECOND = 1_000_000_000
TIMES = ("user", "nice", "system", "softirq", "irq", "idle", "iowait", "steal", "guest", "guest_nice")


def find_cpus(kernel: Kernel, gaps: Gaps) -> list[CpuRecord]:
    """Every CPU that is present, by number."""
    if not {"cpuinfo_x86", "kernel_cpustat"} <= kernel.profile.structs.keys():
        gaps.add("cpus", "not on this kernel")
        return []
    offsets = read_percpu_offsets(kernel)
    words = -(-len(offsets) // 64)
    present = int.from_bytes(kernel.memory.read(kernel.symbol("__cpu_present_mask"), 8 * words), "little")
    online = {cpu for cpu, _ in percpu.find_online(kernel)}
    records = []
    for cpu, offset in enumerate(offsets):
        if present >> cpu & 1:
            try:
                records.append(_record(kernel, cpu, offset, cpu in online))
            except GuestDataError as error:
                gaps.add("cpus", "unreadable", error.message)
    return records


def _record(kernel: Kernel, cpu: int, offset: int, online: bool) -> CpuRecord:
    info = kernel.read_one("cpuinfo_x86", INFO_FIELDS, percpu.own(kernel, "cpu_info", offset))
    return CpuRecord(
        cpu=cpu,
        online=online,
        vendor=guest_text(text_rows(info.raw("x86_vendor_id"))[0]),
        model_name=guest_text(text_rows(info.raw("x86_model_id"))[0].strip()),
        family=_number(info, "x86"),
        model=_number(info, "x86_model"),
        stepping=_number(info, "x86_stepping"),
        microcode=_number(info, "microcode"),
        **{name: value / NS_PER_SECOND for name, value in _times(kernel, offset).items()},
    )


def _number(columns: Columns, field: str) -> int | None:
    return int(columns[field][0]) if field in columns else None


def _times(kernel: Kernel, offset: int) -> dict[str, int]:
    """Nanoseconds by kind."""
    columns = kernel.read_one("kernel_cpustat", "cpustat", percpu.own(kernel, "kernel_cpustat", offset))
    kinds = kernel.profile.enums.get("cpu_usage_stat", {})
    places = {name: kinds.get(f"CPUTIME_{name.upper()}", place) for place, name in enumerate(TIMES)}
    values = columns.words("cpustat", max(places.values()) + 1)[0].tolist()
    times = {name: values[place] for name, place in places.items()}
    ticks_stop = kernel.has_symbol("tick_nohz_active") and kernel.memory.u32(
        kernel.symbol("tick_nohz_active")
    )
    with_tick = kernel.profile.has("tick_sched", "idle_sleeptime")
    if ticks_stop and with_tick and not kernel.profile.has("kernel_cpustat", "idle_entrytime"):
        tick = kernel.read_one("tick_sched", TICK_FIELDS, percpu.own(kernel, "tick_cpu_sched", offset))
        times["idle"], times["iowait"] = (int(tick[name][0]) for name in TICK_FIELDS.split())
    return times
