"""A guest of bytearrays, for tests: logs every operation, fails the n-th on demand, moves while it is read.

Reads nothing of any host. Deliberately naive, so that the suite of all transports can compare the fast ones
with it; it plays the hostile guest too: `moving` may change bytes, between the rows of one gather as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vmon.core.address import PAGE_SIZE_BYTES, Gpa
from vmon.core.errors import PauseLost, PhysReadError, TargetGone
from vmon.core.ports import LONGEST_HOLD_S, Patch, PauseReport, RamRange, Registers, VmState
from vmon.transport.patches import apply_patches, check_patches


@dataclass(frozen=True, slots=True)
class Operation:
    """One call, as it was logged."""

    kind: str
    gpas: tuple[int, ...] = ()
    size_bytes: int = 0


class FakeRam:
    """ReadPhys, WritePhys and PatchCode over {gpa: bytes}; runs that touch are one range to the reader."""

    def __init__(
        self,
        memory: Mapping[int, bytes | bytearray],
        *,
        fail_at: int | None = None,
        failure: Exception | None = None,
        moving: Callable[[FakeRam, int], None] | None = None,
    ) -> None:
        """`fail_at` counts operations from 0; `moving` is called before each row, with their count."""
        self.memory = {gpa: bytearray(data) for gpa, data in sorted(memory.items()) if data}
        self.log: list[Operation] = []
        self.fail_at = fail_at
        self.failure = failure or TargetGone("the fake guest was told to go")
        self.moving = moving
        self._rows = 0
        ends = [(gpa, gpa + len(data)) for gpa, data in self.memory.items()]
        joined: list[tuple[int, int]] = []
        for start, end in ends:
            if joined and start < joined[-1][1]:
                raise ValueError(f"fake RAM overlaps at {start:#x}")
            if joined and start == joined[-1][1]:
                joined[-1] = (joined[-1][0], end)
            else:
                joined.append((start, end))
        self._ranges = tuple(RamRange(Gpa(start), end - start) for start, end in joined)

    @property
    def ranges(self) -> tuple[RamRange, ...]:
        """The guest's RAM, holes left out."""
        return self._ranges

    def _operate(self, kind: str, gpas: tuple[int, ...] = (), size_bytes: int = 0) -> None:
        self.log.append(Operation(kind, gpas, size_bytes))
        if self.fail_at is not None and len(self.log) - 1 >= self.fail_at:
            raise self.failure

    def _inside(self, gpa: int, size_bytes: int) -> bool:
        return any(r.gpa <= gpa < r.end_gpa and gpa + size_bytes <= r.end_gpa for r in self._ranges)

    def _copy(self, gpa: int, size_bytes: int) -> bytes:
        if self.moving:
            self.moving(self, self._rows)
        self._rows += 1
        out = bytearray(size_bytes)
        for start, data in self.memory.items():
            low, high = max(gpa, start), min(gpa + size_bytes, start + len(data))
            if low < high:
                out[low - gpa : high - gpa] = data[low - start : high - start]
        return bytes(out)

    def read(self, gpa: Gpa, size_bytes: int) -> bytes:
        """Exactly that many bytes, or PhysReadError."""
        self._operate("read", (gpa,), size_bytes)
        if size_bytes < 0 or (size_bytes and not self._inside(gpa, size_bytes)):
            raise PhysReadError(gpa, size_bytes)
        return self._copy(gpa, size_bytes)

    def gather(self, gpas: NDArray[np.uint64], size_bytes: int) -> NDArray[np.uint8]:
        """Rows of `size_bytes` at many addresses; zeros where that is not all RAM."""
        addresses = tuple(int(gpa) for gpa in gpas)
        self._operate("gather", addresses, size_bytes)
        rows = np.zeros((len(addresses), max(size_bytes, 0)), np.uint8)
        for index, gpa in enumerate(addresses):
            if size_bytes > 0 and self._inside(gpa, size_bytes):
                rows[index] = np.frombuffer(self._copy(gpa, size_bytes), np.uint8)
        return rows

    def contains(self, gpas: NDArray[np.uint64], size_bytes: int) -> NDArray[np.bool_]:
        """For each address, whether `size_bytes` bytes from there are RAM."""
        self._operate("contains", tuple(int(gpa) for gpa in gpas), size_bytes)
        return np.array([self._inside(int(gpa), size_bytes) for gpa in gpas], np.bool_)

    def populated(self) -> Iterator[RamRange]:
        """Pages that are not all zeros."""
        self._operate("populated")
        for start, data in self.memory.items():
            for at in range(0, len(data), PAGE_SIZE_BYTES):
                page = data[at : at + PAGE_SIZE_BYTES]
                if any(page):
                    yield RamRange(Gpa(start + at), len(page))

    def write(self, gpa: Gpa, data: bytes) -> None:
        """All of the bytes, or PhysReadError."""
        self._operate("write", (gpa,), len(data))
        self.guest_writes(gpa, data)

    def patch(self, patches: Sequence[Patch]) -> PauseReport:
        """All of the places or none: logged as one patch, then each read and write of it."""
        self._operate("patch", tuple(patch.gpa for patch in patches))
        check_patches(patches)
        apply_patches(patches, self.read, self.write)
        return PauseReport(paused_ns=len(patches), patches=len(patches))

    def guest_writes(self, gpa: int, data: bytes) -> None:
        """What the guest itself would write, not logged: for `moving` and for setting a scene."""
        if data and not self._inside(gpa, len(data)):
            raise PhysReadError(gpa, len(data))
        for start, memory in self.memory.items():
            low, high = max(gpa, start), min(gpa + len(data), start + len(memory))
            if low < high:
                memory[low - start : high - start] = data[low - gpa : high - gpa]


@dataclass(slots=True)
class FakeStandstill:
    """Standstill for as long as the test says."""

    registers: list[Registers]
    over: bool = False
    paused_ns: int = 0

    def require_time(self) -> None:
        """PauseLost once the test has ended it."""
        if self.over:
            raise PauseLost("the fake guest goes on")


@dataclass(slots=True)
class FakeMachine:
    """ReadRegs, WatchVm and HoldVm with answers set by the test."""

    cpus: list[Registers] = field(default_factory=list)
    status: str = "running"
    resets: int = 0
    gone: bool = False

    def registers(self, cpu: int = 0) -> Registers:
        """The registers that the test gave."""
        if self.gone:
            raise TargetGone("the fake guest was told to go")
        return self.cpus[cpu]

    @contextmanager
    def held(self, longest_s: float = LONGEST_HOLD_S) -> Iterator[FakeStandstill]:
        """A pause that lasts."""
        before, self.status = self.status, "paused"
        pause = FakeStandstill(self.cpus)
        try:
            yield pause
        finally:
            pause.over, pause.paused_ns = True, 1
            self.status = before

    def state(self) -> VmState:
        """The state that the test set."""
        if self.gone:
            raise TargetGone("the fake guest was told to go")
        return VmState(self.status, self.resets)
