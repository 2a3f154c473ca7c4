"""The interrupt descriptor table has a gate of 16 bytes for each of 256 vectors, each with a handler's address.

Reads idt_table. A hostile guest can load another table into its CPUs: where registers can be read, theirs is compared.
Sources: arch/x86/kernel/idt.c, Intel SDM vol. 3A 6.14.
"""

from __future__ import annotations

import numpy as np

from vmon.kernel.columns import Column
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel

WANTS = Wants(symbols=("idt_table",))
VECTORS = 256
GATE_BYTES = 16


def read_gates(kernel: Kernel) -> Column:
    """Address of each vector's handler; 0 where the gate is not present. BadStructure without the table."""
    data = kernel.memory.read(kernel.symbol("idt_table"), VECTORS * GATE_BYTES)
    words = np.frombuffer(data, dtype="<u2").reshape(VECTORS, GATE_BYTES // 2).astype(np.uint64)
    high = words[:, 4] | words[:, 5] << np.uint64(16)
    addresses = words[:, 0] | words[:, 3] << np.uint64(16) | high << np.uint64(32)
    present = (words[:, 2] >> np.uint64(15)) != 0
    return np.where(present, addresses, np.uint64(0))
