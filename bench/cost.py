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
from bench.series import Results, Series
from bench.states import BARE, IDLE, NOTHING_FITS, RECORDED, RULES, STATES, measure_in
from vmon.core.errors import VmonError
from vmon.lab.guest import LabGuest
from vmon.monitor.attach import attach
from vmon.monitor.machine import VirtualMachine

KERNELS = ("6.1", "7.2")
"""Measured on these where none is asked for: an old and a new way to open a file."""
CLOCKS = ("instructions", "time")
IO_TARGET = 0.74
ALONE = 1.2
"""Time that passes, in CPU time of the work: 3 % go to threads that free files on 6.1, half to others after a boot."""
SETTLE_TRIES = 60


@dataclass(frozen=True, slots=True)
class Work:
    """Something that guests do."""

    name: str
    mode: str
    """Of bench/work.c."""
    counted: tuple[int, int]
    """Turns in all and in a batch, where instructions are counted."""
    timed: tuple[int, int]
    """The same where time is measured: batches that a neighbour on the host leaves alone, mostly."""
    targets: dict[str, float | None]
    """What it may cost more, in percent, by state; only these states are measured."""
    arguments: str = ""
    by_cpu: bool = False
    """Whether it waits, for a disk or for its children."""


def _io(
    name: str,
    mode: str,
    arguments: str,
    counted: tuple[int, int],
    timed: tuple[int, int],
    *,
    by_cpu: bool = False,
    target: float | None = IO_TARGET,
) -> Work:
    return Work(name, mode, counted, timed, {RECORDED: target}, arguments, by_cpu)


def _dd(name: str, arguments: str) -> Work:
    return _io(name, "run", f"dd {arguments} conv=notrunc", (4, 1), (10, 1), by_cpu=True)


_OPEN: dict[str, float | None] = {IDLE: 5.0, NOTHING_FITS: 5.0, RECORDED: 10.0, RULES: 10.0}
_FORK: dict[str, float | None] = dict.fromkeys(STATES[1:], 2.0)
WORKS = (
    Work("open+close", "opens", (20_000, 2000), (10_000, 20), _OPEN),
    Work("fork+exec", "forks", (200, 20), (100, 1), _FORK),
    # Nothing but events: told as it is, nobody promised anything for it.
    _io("tmpfs create+rename+unlink", "files", "/tmp/one", (4000, 400), (4000, 20), target=None),
    _dd("tmpfs dd read 4k", "if=/tmp/in of=/dev/null bs=4k"),
    _dd("tmpfs dd read 1M", "if=/tmp/in of=/dev/null bs=1M"),
    _dd("tmpfs dd write 4k", "if=/dev/zero of=/tmp/out bs=4k count=4096"),
    _dd("tmpfs dd write 1M", "if=/dev/zero of=/tmp/out bs=1M count=16"),
    _io("tmpfs random 4k", "mixed", "/tmp/random cached", (20_000, 2000), (20_000, 50)),
    _dd("disk dd read 1M O_DIRECT", "if=/mnt/random of=/dev/null bs=1M iflag=direct"),
    _io("disk random 4k", "mixed", "/mnt/random cached", (20_000, 2000), (20_000, 50), by_cpu=True),
    _io("disk random 4k O_DIRECT", "mixed", "/mnt/random direct", (2000, 1), (2000, 1), by_cpu=True),
    _io("disk write+fdatasync 4k", "synced", "/mnt/random 4096", (1000, 1), (500, 1), by_cpu=True),
)
PREPARE = (
    "for file in tmp/in tmp/out mnt/random; do dd if=/dev/zero of=/$file bs=1M count=16; done 2>/dev/null"
)


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
        rounds = (3 if quick else 5) if counted else (3 if quick else 9)
        with attach(guest.name) as vm:
            settle(guest)
            for work in WORKS:
                if works is None or work.name in works:
                    wanted = [state for state in work.targets if states is None or state in states]
                    compare(results, vm, guest, kernel, work, wanted, rounds, counted=counted)
            vm.remove_probe()
        guests.down(guest.name)


def turn(guest: LabGuest, work: Work, *, counted: bool) -> float:
    """What a turn takes: microseconds of the best tenth of its batches, or instructions of the middle one."""
    # Time that passes while a disk works is not instructions; nor is what else comes in between.
    clock = "-c " if counted and work.by_cpu else ""
    turns, batch = work.counted if counted else work.timed
    command = f"/lab/work {clock}{work.mode} {turns} {batch} {work.arguments}"
    median, tenth = guest.run(command, timeout_s=300, check=True).text.split()
    return float(median) if counted else float(tenth) / 1e3


def settle(guest: LabGuest) -> None:
    """Wait until what goes on after the boot is over: work gets the whole CPU, three times in a row."""
    alone = 0
    for _ in range(SETTLE_TRIES):
        passed, used = (
            float(guest.run(f"/lab/work {clock}opens 4000 400", timeout_s=300, check=True).text.split()[0])
            for clock in ("", "-c ")
        )
        alone = alone + 1 if passed < ALONE * used else 0
        if alone == 3:
            return
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
            took, _ = measure_in(vm, state, lambda: turn(guest, work, counted=counted))
            values.append(took)
    unit, more = ("instr", "more instr") if counted else ("us", "more time")
    bare = seen[BARE]
    for state, values in seen.items():
        results.add(f"{work.name}, {state}", unit, kernel, values)
        if state != BARE:
            ratios = [100 * (value / none - 1) for value, none in zip(values, bare, strict=True)]
            _add_judged(results, f"{work.name}, {state}, {more}", kernel, ratios, work.targets[state])


def _add_judged(results: Results, name: str, kernel: str, ratios: list[float], target: float | None) -> None:
    """Noise neither keeps nor breaks a promise: there is a verdict where nearly all rounds agree in it.

    The probe saves nothing: where rounds say that it does, by more than is promised, the noise is what is measured.
    """
    note = ""
    if target is not None:
        spread = Series(name, "%", kernel, ratios)
        least, most = spread.share(0.1), spread.share(0.9)
        if least <= target < most or (most <= target and least < -target):
            target, note = None, f"too noisy to say whether it is under {target:g} %"
    results.add(name, "%", kernel, ratios, target, note)
