from __future__ import annotations

import pytest

from tests.unit.linux.small import Small
from vmon.core.errors import BadStructure, NotMapped
from vmon.linux.percpu import WANTS, find_online, own

SYMBOLS = {"__cpu_online_mask": 1024, "__per_cpu_offset": 64 * 8, "nr_cpu_ids": 4, "variable": 8}


def made(cpus: int, mask: int) -> Small:
    small = Small(WANTS, {}, SYMBOLS, absolute={"counted": 0x40})
    small.put(small.symbol("nr_cpu_ids"), cpus, 4)
    small.write(small.symbol("__cpu_online_mask"), mask.to_bytes(16, "little"))
    for cpu in range(min(cpus, 64)):
        small.put(small.symbol("__per_cpu_offset") + 8 * cpu, 0x1000 * (cpu + 1))
    return small


def test_cpus_that_are_online() -> None:
    # Bits beyond the CPUs that there can be are nobody.
    small = made(3, 0b1101)
    assert find_online(small.kernel()) == [(0, 0x1000), (2, 0x3000)]
    assert find_online(made(0, 1).kernel()) == []


def test_more_cpus_than_there_can_be() -> None:
    # 8192 are looked for, and these are not all there.
    with pytest.raises(NotMapped):
        find_online(made(1 << 31, 5).kernel())


def test_a_cpus_own_variable() -> None:
    kernel = made(1, 1).kernel()
    # An offset into each CPU's area, or since 6.15 an address that the CPU's offset is added to.
    assert own(kernel, "counted", 0xFFFF_8880_0000_0000) == 0xFFFF_8880_0000_0040
    assert own(kernel, "variable", (1 << 64) - 0x1000) == kernel.symbol("variable") - 0x1000
    with pytest.raises(BadStructure, match="no such symbol"):
        own(kernel, "nix", 0)
