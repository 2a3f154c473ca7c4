"""What a guest can be asked for, as small abilities that a transport may or may not have.

Pure definitions: no I/O here. A dump has ReadPhys and ViewPhys alone; a live QEMU guest adds ReadRegs, WatchVm,
WritePhys and PatchCode. A feature names in its signature the ports that it needs, so what is not supported is known
at attach, and what only reads is never handed a way to write.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from vmon.core.address import Gpa

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


LONGEST_HOLD_S = 2.0
"""Of a pause that nobody asked for: vmon's own."""


@dataclass(frozen=True, slots=True)
class RamRange:
    """A run of guest-physical RAM without a hole in it."""

    gpa: Gpa
    size_bytes: int

    @property
    def end_gpa(self) -> Gpa:
        """First address after the range."""
        return Gpa(self.gpa + self.size_bytes)


@dataclass(frozen=True, slots=True)
class Registers:
    """The registers of one vCPU that say how its memory is mapped and where it is."""

    cpu: int
    cr3: int
    cr4: int
    efer: int
    rip: int
    cpl: int
    rsp: int = 0
    idt_base: int = 0
    """Address of the interrupt descriptor table; 0 where it is not told."""


@runtime_checkable
class ReadPhys(Protocol):
    """Read guest-physical memory. Never writes to the guest, never pauses it."""

    @property
    def ranges(self) -> tuple[RamRange, ...]:
        """The guest's RAM, sorted by address, holes left out."""
        ...

    def read(self, gpa: Gpa, size_bytes: int) -> bytes:
        """Return exactly `size_bytes` bytes; raise PhysReadError where that is not all RAM."""
        ...

    def gather(self, gpas: NDArray[np.uint64], size_bytes: int) -> NDArray[np.uint8]:
        """Read the same size at many addresses: an (n, size) array that the caller owns.

        A row whose address is not all RAM reads as zeros, so that one wild pointer
        does not spoil the rest; callers that must know ask `contains` first.
        """
        ...

    def contains(self, gpas: NDArray[np.uint64], size_bytes: int) -> NDArray[np.bool_]:
        """For each address, whether `size_bytes` bytes from there are RAM."""
        ...

    def populated(self) -> Iterator[RamRange]:
        """The parts of RAM that the host has backing for; elsewhere it reads as zeros.

        A transport that can't tell gives all of `ranges`.
        """
        ...


@runtime_checkable
class ViewPhys(Protocol):
    """See guest-physical memory where it lies, without a copy: RAM that is mapped into this process, or a dump."""

    def view(self, gpa: Gpa, size_bytes: int) -> memoryview:
        """Exactly `size_bytes` bytes, read-only, which change as the guest changes them; PhysReadError as in read.

        The caller releases it, soon: while it is held, the target can't be closed.
        """
        ...


@runtime_checkable
class ReadRegs(Protocol):
    """Read control registers. Asks the hypervisor, does not pause the guest."""

    def registers(self, cpu: int = 0) -> Registers:
        """Registers of one vCPU; raises TargetGone when the hypervisor went away."""
        ...


@dataclass(frozen=True, slots=True)
class VmState:
    """What the hypervisor says of the machine."""

    status: str
    """QMP run state: running, paused, shutdown, inmigrate..."""
    resets: int
    """RESET events seen since the connection was made."""


@runtime_checkable
class WatchVm(Protocol):
    """Ask the hypervisor how the machine is. Cheap: one round trip, no pause."""

    def state(self) -> VmState:
        """Current state; raises TargetGone when the hypervisor went away."""
        ...


@runtime_checkable
class WritePhys(Protocol):
    """Write guest-physical memory: data, never code that may have run (that is for PatchCode)."""

    def write(self, gpa: Gpa, data: bytes) -> None:
        """Write all of `data`, the guest running or paused; microseconds.

        A guest that runs may see half of it for a moment. PhysReadError where that is not all RAM, and then nothing
        is written; TargetDenied where the host does not let us; TargetGone.
        """
        ...


@dataclass(frozen=True, slots=True)
class Patch:
    """One place of code: what must be there, and what shall be."""

    gpa: Gpa
    old: bytes
    new: bytes
    """As many bytes as `old`."""


@dataclass(frozen=True, slots=True)
class PauseReport:
    """What changing code cost the guest."""

    paused_ns: int
    """From just before the guest was stopped to just after it went on; 0 if somebody else had paused it."""
    patches: int
    """Places changed."""


@runtime_checkable
class WakeVm(Protocol):
    """Make an idle guest take an interrupt that means nothing to it."""

    def wake(self, attempt: int = 0) -> None:
        """The first attempt is one round trip, and does nothing on a machine without a keyboard; those after it may
        pause the guest for some milliseconds. TargetGone.
        """
        ...


class Standstill(Protocol):
    """A pause, while it lasts."""

    @property
    def registers(self) -> Sequence[Registers]:
        """Of every vCPU."""
        ...

    @property
    def paused_ns(self) -> int:
        """How long it was, once it is over; 0 if somebody else had paused the guest."""
        ...

    def require_time(self) -> None:
        """Raise PauseLost where the guest may go on at any moment."""
        ...


@runtime_checkable
class HoldVm(Protocol):
    """Look at the guest, and change its data, while no vCPU runs; no pause outlives its deadline or its owner."""

    def held(self, longest_s: float = LONGEST_HOLD_S) -> AbstractContextManager[Standstill]:
        """The guest stands still inside, for milliseconds: two seconds are the most, unless somebody asked for more.

        A guest that somebody else had paused stays paused. TargetBusy, TargetDenied, TargetGone.
        """
        ...


@runtime_checkable
class PatchCode(Protocol):
    """Change code of the guest, which stands still meanwhile; no pause outlives its deadline or its owner."""

    def patch(self, patches: Sequence[Patch]) -> PauseReport:
        """Change all places in one pause of a few milliseconds, or none.

        A guest that somebody else had paused stays paused. CodeDiffers names a place where `old` is not;
        PhysReadError, TargetBusy, TargetDenied, TargetGone: nothing was changed. PauseLost: the pause ended
        before all was written.
        """
        ...
