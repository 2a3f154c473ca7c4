from __future__ import annotations

import struct

from tests.unit.linux.small import Small
from vmon.linux.interrupt import GATE_BYTES, VECTORS, WANTS, read_gates


def test_gates_are_put_together_from_their_three_parts() -> None:
    small = Small(WANTS, {}, {"idt_table": VECTORS * GATE_BYTES})
    handler = 0xFFFF_FFFF_8112_3456
    gate = struct.pack("<HHHHII", handler & 0xFFFF, 0x10, 0x8E00, handler >> 16 & 0xFFFF, handler >> 32, 0)
    small.write(small.symbol("idt_table") + GATE_BYTES * 14, gate)
    absent = struct.pack("<HHHHII", 1, 0x10, 0x0E00, 2, 3, 0)
    small.write(small.symbol("idt_table") + GATE_BYTES * 15, absent)
    gates = read_gates(small.kernel())
    assert gates.size == VECTORS
    assert {vector: gate for vector, gate in enumerate(gates.tolist()) if gate} == {14: handler}
