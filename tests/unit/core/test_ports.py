from __future__ import annotations

from vmon.core.address import Gpa
from vmon.core.ports import PatchCode, RamRange, ReadPhys, ReadRegs, WatchVm, WritePhys
from vmon.transport.fake import FakeMachine, FakeRam


def test_a_range_ends_where_the_next_may_start() -> None:
    assert RamRange(Gpa(0x1000), 0x2000).end_gpa == 0x3000


def test_abilities_can_be_asked_for() -> None:
    ram, machine = FakeRam({0: bytes(8)}), FakeMachine()
    assert isinstance(ram, ReadPhys)
    assert not isinstance(ram, ReadRegs | WatchVm)
    assert isinstance(machine, ReadRegs)
    assert isinstance(machine, WatchVm)
    assert not isinstance(machine, ReadPhys)
    assert isinstance(ram, WritePhys)
    assert isinstance(ram, PatchCode)
    assert not isinstance(machine, WritePhys | PatchCode)
