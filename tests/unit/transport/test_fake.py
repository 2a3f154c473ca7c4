"""The fake guest: logs, fails, moves."""

from __future__ import annotations

import numpy as np
import pytest

from vmon.core.address import Gpa
from vmon.core.errors import PhysReadError, TargetGone
from vmon.core.ports import ReadPhys, ReadRegs, Registers, WatchVm
from vmon.transport.fake import FakeMachine, FakeRam, Operation


def test_it_logs_every_operation() -> None:
    ram = FakeRam({0: b"abcdefgh", 4096: b"x"})
    assert isinstance(ram, ReadPhys)
    ram.read(Gpa(1), 3)
    ram.gather(np.array([0, 9], np.uint64), 2)
    assert ram.log == [Operation("read", (1,), 3), Operation("gather", (0, 9), 2)]


def test_it_fails_at_the_nth() -> None:
    ram = FakeRam({0: bytes(8)}, fail_at=1)
    ram.read(Gpa(0), 1)
    for _ in range(2):
        with pytest.raises(TargetGone):
            ram.read(Gpa(0), 1)
    ram = FakeRam({0: bytes(8)}, fail_at=0, failure=PhysReadError(0, 1))
    with pytest.raises(PhysReadError):
        list(ram.populated())


def test_it_moves_between_the_rows_of_one_gather() -> None:
    ram = FakeRam({0: bytes(8)}, moving=lambda ram, rows: ram.guest_writes(0, bytes([rows])))
    assert ram.gather(np.array([0, 0, 0], np.uint64), 1).ravel().tolist() == [0, 1, 2]
    assert ram.read(Gpa(0), 1) == b"\3"


def test_runs_that_touch_are_one_range() -> None:
    ram = FakeRam({4: b"efgh", 0: b"abcd"})
    assert [(r.gpa, r.size_bytes) for r in ram.ranges] == [(0, 8)]
    assert ram.read(Gpa(2), 4) == b"cdef"
    with pytest.raises(ValueError, match="overlaps"):
        FakeRam({0: b"abcd", 3: b"x"})


def test_the_machine() -> None:
    machine = FakeMachine([Registers(0, 1, 2, 3, 4, 0)])
    assert isinstance(machine, ReadRegs) and isinstance(machine, WatchVm)
    assert machine.registers().cr3 == 1 and machine.state().status == "running"
    machine.gone = True
    with pytest.raises(TargetGone):
        machine.state()
