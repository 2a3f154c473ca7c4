"""What the probe costs the guest's own work, in time and in instructions, against no probe and all states in turn.

Time is the guest's own clock, on one vCPU; on two cores the host's reading is not in the guest's way. Instructions are
counted by QEMU's -icount: each is a nanosecond of the guest's clocks there, so that a neighbour on the host or a slow
emulator changes nothing; what an instruction costs on a real CPU it does not say. Batches of work are long enough that
each has its ticks of the timer and its files that are freed later: shorter ones differ by 3 % on 6.1. Waiting for a
disk is no work: with -icount the CPU time of the program counts there.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from bench.guests import Guests
from bench.series import Results
from bench.states import BARE, IDLE, NOTHING_FITS, RECORDED, RULES, STATES, measure_in
from vmon.core.errors import VmonError
from vmon.lab.guest import LabGuest
from vmon.monitor.attach import attach
from vmon.monitor.machine import VirtualMachine

KERNELS = ("6.1", "7.2")
"""Measured on these where none is asked for: an old and a new way to open a file."""
CLOCKS = ("instructions", "time")
IO_TARGET = 0.74
SETTLED = 0.003
SETTLE_TRIES = 40


@dataclass(frozen=True, slots=True)
class Work:
    """Something that guests do."""

    name: str
    words: str
    """Arguments of bench/work.c; turns and batch first."""
    targets: dict[str, float]
    """What it may cost more, in percent, by state; only these states are measured."""
    waits: bool = False
    """Whether it waits for a disk, or its children do."""


def _io(name: str, words: str, *, waits: bool = False) -> Work:
    return Work(name, words, {RECORDED: IO_TARGET}, waits=waits)


_ALL = dict.fromkeys((IDLE, NOTHING_FITS), 5.0) | {RECORDED: 10.0, RULES: 10.0}
WORKS = (
    Work("open+close", "opens 20000 2000", _ALL),
    Work("fork+exec", "forks 200 20", dict.fromkeys(STATES[1:], 2.0)),
    _io("dd read 4k", "run 10 1 dd if=/tmp/in of=/dev/null bs=4k count=4096"),
    _io("dd read 1M", "run 10 1 dd if=/tmp/in of=/dev/null bs=1M count=16"),
    _io("dd write 4k", "run 10 1 dd if=/dev/zero of=/tmp/out bs=4k count=4096 conv=notrunc"),
    _io("dd write 1M", "run 10 1 dd if=/dev/zero of=/tmp/out bs=1M count=16 conv=notrunc"),
    _io("tmpfs random 4k", "mixed 20000 200 /tmp/random cached"),
    _io("disk random 4k", "mixed 10000 200 /mnt/random cached", waits=True),
    _io("disk random 4k, direct", "mixed 2000 100 /mnt/random direct", waits=True),
    _io("disk random 4k, fdatasync", "mixed 2000 100 /mnt/random sync", waits=True),
    _io("disk dd read 1M", "run 5 1 dd if=/mnt/random of=/dev/null bs=1M count=16", waits=True),
)
PREPARE = "for file in in out; do dd if=/dev/zero of=/tmp/$file bs=1M count=16; done 2>/dev/null"


def measure_cost(
    results: Results,
    guests: Guests,
    kernel: str,
    *,
    quick: bool,
    works: Collection[str] | None = None,
    states: Collection[str] | None = None,
    clocks: Collection[str] | None = None,
) -> None:
    """All series of this file for one kernel; None is all of them."""
    for clock in clocks or CLOCKS:
        counted = clock == "instructions"
        guest = guests.up(clock, kernel, disk=True, icount=counted)
        guest.run(PREPARE, check=True)
        rounds = (3 if quick else 5) if counted else (3 if quick else 15)
        with attach(guest.name) as vm:
            settle(guest, counted=counted)
            for work in WORKS:
                if works is None or work.name in works:
                    wanted = [state for state in work.targets if states is None or state in states]
                    compare(results, vm, guest, kernel, work, wanted, rounds, counted=counted)
            vm.remove_probe()
        guests.down(guest.name)


def turn(guest: LabGuest, work: Work, *, counted: bool) -> float:
    """What a turn takes: microseconds, or instructions."""
    # Time that passes while a disk works is not instructions; a child's time is its CPU time.
    clock = "-c " if counted and (work.waits or work.words.startswith("run ")) else ""
    median = float(guest.run(f"/lab/work {clock}{work.words}", timeout_s=300, check=True).text.split()[0])
    return median if counted else median / 1e3


def settle(guest: LabGuest, *, counted: bool) -> None:
    """Wait until what goes on after the boot is over: the same work takes the same twice, and once more."""
    before, same = 0.0, 0
    for _ in range(SETTLE_TRIES):
        now = turn(guest, WORKS[0], counted=counted)
        same = same + 1 if abs(now - before) <= (SETTLED if counted else 0.1) * now else 0
        if same == 2:
            return
        before = now
    raise VmonError(f"{guest.name} does not come to rest")


def compare(
    results: Results,
    vm: VirtualMachine,
    guest: LabGuest,
    kernel: str,
    work: Work,
    states: list[str],
    rounds: int,
    *,
    counted: bool,
) -> None:
    """One kind of work under some states and under none, in turn."""
    seen: dict[str, list[float]] = {state: [] for state in (BARE, *states)}
    for _ in range(rounds):
        for state, values in seen.items():
            values.append(measure_in(vm, state, lambda: turn(guest, work, counted=counted)))
    unit, more = ("instr", "more instr") if counted else ("us", "more time")
    bare = seen[BARE]
    for state, values in seen.items():
        results.add(f"{work.name}, {state}", unit, kernel, values)
        if state != BARE:
            ratios = [100 * (value / none - 1) for value, none in zip(values, bare, strict=True)]
            results.add(f"{work.name}, {state}, {more}", "%", kernel, ratios, work.targets[state])
