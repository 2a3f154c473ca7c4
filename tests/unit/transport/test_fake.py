"""The fake guest: logs, fails, moves."""

from __future__ import annotations

import numpy as np
import pytest

from vmon.core.address import Gpa
from vmon.core.errors import CodeDiffers, PauseLost, PhysReadError, TargetGone
from vmon.core.ports import HoldVm, Patch, PatchCode, ReadPhys, ReadRegs, Registers, WatchVm, WritePhys
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


def test_it_writes_across_its_pieces_and_logs() -> None:
    ram = FakeRam({0: b"abcd", 4: b"efgh"})
    assert isinstance(ram, WritePhys)
    ram.write(Gpa(2), b"XYZ")
    ram.guest_writes(7, b"!")
    assert ram.read(Gpa(0), 8) == b"abXYZfg!"
    assert ram.log == [Operation("write", (2,), 3), Operation("read", (0,), 8)]
    with pytest.raises(PhysReadError):
        ram.write(Gpa(6), b"abc")
    assert ram.read(Gpa(0), 8) == b"abXYZfg!"


def test_it_patches_all_or_nothing() -> None:
    ram = FakeRam({0: b"abcdefgh"})
    assert isinstance(ram, PatchCode)
    patches = [Patch(Gpa(1), b"bc", b"XY"), Patch(Gpa(6), b"g", b"Z")]
    assert ram.patch(patches).patches == 2
    assert ram.memory[0] == b"aXYdefZh"
    kinds = [operation.kind for operation in ram.log]
    assert kinds == ["patch", "read", "read", "write", "write", "read", "read"]
    with pytest.raises(CodeDiffers):
        ram.patch(patches)
    assert ram.memory[0] == b"aXYdefZh"


@pytest.mark.parametrize("fail_at", range(7))
def test_its_patch_can_be_broken_at_any_step(fail_at: int) -> None:
    """Once it fails it fails for good, as a guest that went away: what was written by then stays."""
    ram = FakeRam({0: b"abcdefgh"}, fail_at=fail_at)
    with pytest.raises(TargetGone):
        ram.patch([Patch(Gpa(1), b"bc", b"XY"), Patch(Gpa(6), b"g", b"Z")])


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
    assert isinstance(machine, ReadRegs) and isinstance(machine, WatchVm) and isinstance(machine, HoldVm)
    with machine.held() as pause:
        assert (machine.state().status, pause.registers) == ("paused", machine.cpus)
        pause.require_time()
    assert machine.state().status == "running"
    with pytest.raises(PauseLost):
        pause.require_time()
    assert machine.registers().cr3 == 1 and machine.state().status == "running"
    machine.gone = True
    with pytest.raises(TargetGone):
        machine.state()
