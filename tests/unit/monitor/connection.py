"""A connection to a guest in a bytearray, as vmon.monitor.attach would hand it over; the test plays the hypervisor."""

from __future__ import annotations

from tests.unit.kernel.fuzz import BoundedRam
from tests.unit.linux.build import Guest, registers
from vmon.core.ports import ReadRegs, WatchVm
from vmon.transport.fake import FakeMachine


class FakeConnection:
    """Shows one guest; `boot` puts another one in its place, as a reset does."""

    hypervisor = "tcg, QEMU 0.0"
    ram_access = "fake"
    identity = "fake"

    def __init__(self, guest: Guest, *, live: bool = True) -> None:
        self.ram: BoundedRam = guest.ram(calls_limit=1_000_000)
        self.machine = FakeMachine([registers(guest.la57)])
        self.regs: ReadRegs | None = self.machine if live else None
        self.watch: WatchVm | None = self.machine if live else None
        self.closed = 0

    def close(self) -> None:
        self.closed += 1

    def boot(self, guest: Guest, *, reset: bool = True) -> None:
        following = guest.ram()
        self.ram.memory, self.ram._ranges = following.memory, following._ranges
        self.machine.cpus = [registers(guest.la57)]
        self.machine.resets += reset
