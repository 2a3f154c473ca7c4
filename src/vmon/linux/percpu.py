"""Each CPU has its own copy of a per-CPU variable, at an offset of its own.

Reads __cpu_online_mask, __per_cpu_offset. A hostile guest can name CPUs that are not: they are bounded. CPUs come and
go while the guest runs. Sources: include/linux/cpumask.h, include/asm-generic/percpu.h.
"""

from __future__ import annotations

from vmon.core.address import Gva
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel
from vmon.linux.mm import read_percpu_offsets

WANTS = Wants(symbols=("__cpu_online_mask", "__per_cpu_offset", "nr_cpu_ids"))


def find_online(kernel: Kernel) -> list[tuple[int, int]]:
    """(number, offset of its own variables) of every CPU that is online."""
    offsets = read_percpu_offsets(kernel)
    words = -(-len(offsets) // 64)
    mask = int.from_bytes(kernel.memory.read(kernel.symbol("__cpu_online_mask"), 8 * words), "little")
    return [(cpu, offset) for cpu, offset in enumerate(offsets) if mask >> cpu & 1]


def own(kernel: Kernel, name: str, offset: int) -> Gva:
    """Address of a CPU's own copy of a variable. BadStructure when this kernel does not have it."""
    return Gva(kernel.percpu(name) + offset & (1 << 64) - 1)
