"""`vmon meminfo`, `vmon cpus`: memory and CPUs as a guest's kernel counts them. Reads the guest, changes nothing."""

from __future__ import annotations

from vmon.cli.listing import listing
from vmon.cli.output import View
from vmon.core.records.machine import CpuRecord, MemoryRecord

MEMORY = View(
    MemoryRecord,
    ("MEMORY", "KIB"),
    lambda record: (record.name, record.size // 1024),
    "nothing is counted",
)
meminfo = listing(
    "meminfo",
    "Show where the memory of TARGET is, as /proc/meminfo in it. The table counts in KiB, other forms in bytes.",
    MEMORY,
    lambda vm: vm.meminfo(),
)
CPUS = View(
    CpuRecord,
    ("CPU", "ONLINE", "USER", "NICE", "SYSTEM", "IDLE", "IOWAIT", "IRQ", "SOFTIRQ", "STEAL", "MODEL"),
    lambda record: (
        record.cpu,
        record.online,
        *(
            f"{seconds:.2f}"
            for seconds in (
                *(record.user, record.nice, record.system, record.idle),
                *(record.iowait, record.irq, record.softirq, record.steal),
            )
        ),
        record.model_name,
    ),
    "no CPU is present",
)
cpus = listing(
    "cpus",
    "List the CPUs of TARGET and where their time went since boot, in seconds.",
    CPUS,
    lambda vm: vm.cpus(),
)
