"""What the probe costs a guest, and what acting and watching cost on the host.

The guest's work is timed by its own clock, all states of the probe in turn within each round, so that a noisy machine
hits all of them. One vCPU; on two cores the host's own reading is not in the guest's way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.series import Results
from vmon.core.rules import Rule
from vmon.lab.guest import LabGuest
from vmon.monitor.attach import attach
from vmon.monitor.machine import VirtualMachine
from vmon.monitor.probing import EventStream

OPENS = 20_000
FORKS = 100
MANY_RULES = 1000
WORK = {"open+close": ("opens", OPENS), "fork+exec": ("forks", FORKS)}


def measure_probe(results: Results, guest: LabGuest, kernel: str, *, quick: bool) -> None:
    """All series of this file for one guest; the probe is out at the end."""
    rounds = 3 if quick else 10
    with attach(guest.name) as vm:
        try:
            measure_pauses(results, vm, kernel, rounds)
            measure_costs(results, vm, guest, kernel, rounds)
            measure_signals(results, vm, guest, kernel, rounds)
            measure_drain(results, vm, guest, kernel)
        finally:
            vm.remove_probe()


def measure_pauses(results: Results, vm: VirtualMachine, kernel: str, rounds: int) -> None:
    """How long the guest stands still."""
    into, out = [], []
    for _ in range(rounds):
        into.append(vm.install_probe().paused_ms)
        out.append(vm.remove_probe().paused_ns / 1e6)
    results.add("pause to put the probe in", "ms", kernel, into, 20.0)
    results.add("pause to take it out", "ms", kernel, out, 20.0)


def measure_costs(results: Results, vm: VirtualMachine, guest: LabGuest, kernel: str, rounds: int) -> None:
    """The guest's own work under each state of the probe, against none."""
    for what, (mode, count) in WORK.items():
        seen: dict[str, list[float]] = {}
        for _ in range(rounds):
            for state in ("bare", "idle", "nothing fits", "recorded", f"{MANY_RULES} rules"):
                with enter(vm, state):
                    taken = float(guest.run(f"/lab/opens {mode} {count}", timeout_s=120).text)
                seen.setdefault(state, []).append(taken / 1e3)
        for state, values in seen.items():
            results.add(f"{what}, {state}", "us", kernel, values)
            if state != "bare":
                ratios = [100 * (value / bare - 1) for value, bare in zip(values, seen["bare"], strict=True)]
                results.add(f"{what}, {state}, dearer", "%", kernel, ratios)


@contextmanager
def enter(vm: VirtualMachine, state: str) -> Iterator[None]:
    """Put the probe into one of the states that are compared; what is recorded is taken, as a watcher does."""
    vm.remove_probe()
    if state == "bare":
        yield
        return
    stream = vm.event_stream()
    done = threading.Event()
    reader = threading.Thread(target=lambda: take_until(stream, done))
    if state == "nothing fits":
        vm.add_rules([Rule(events=("file.open", "process.exec"), path="/nowhere")])
    elif state == "recorded":
        stream.start()
        reader.start()
    elif state != "idle":
        vm.add_rules(
            [Rule(events=("file.open", "process.exec"), path=f"/no/{n:010}") for n in range(MANY_RULES)]
        )
    yield
    done.set()
    if state == "recorded":
        reader.join()
        stream.stop()
        assert not any(count.lost for count in stream.counts()), (
            "what is lost costs less than what is recorded"
        )


def take_until(stream: EventStream, done: threading.Event) -> None:
    """Empty the ring often enough that little is lost."""
    while not done.wait(0.005):
        stream._ring.take()


def measure_signals(results: Results, vm: VirtualMachine, guest: LabGuest, kernel: str, rounds: int) -> None:
    """From asking to the answer, in an idle and in a busy guest."""
    vm.remove_probe()
    pid = next(process.pid for process in vm.processes() if process.name == "syslogd")
    for how, command in (("idle", "true"), ("busy", "while :; do :; done & echo $! >/tmp/busy")):
        guest.run(f"({command}) >/dev/null 2>&1 &")
        values = []
        for _ in range(4 * rounds):
            time.sleep(0.05)
            values.append(vm.signal(pid, 18).took_ms)
        results.add(
            f"signal in an {how} guest" if how == "idle" else f"signal in a {how} guest", "ms", kernel, values
        )
    guest.run("kill -9 $(cat /tmp/busy)")


def measure_drain(results: Results, vm: VirtualMachine, guest: LabGuest, kernel: str) -> None:
    """A full ring into arrays, and into event objects."""
    stream = vm.event_stream("file.open")
    stream.start()
    rates: dict[str, list[float]] = {"arrays": [], "events": []}
    for _ in range(5):
        for how, values in rates.items():
            guest.run("/lab/opens opens 5000", timeout_s=60)
            begin = time.perf_counter()
            batch = stream._ring.take()
            count = len(batch)
            if how == "events":
                count = len(list(stream._decoder.iter_events(batch)))
            values.append(count / (time.perf_counter() - begin))
    stream.stop()
    for how, values in rates.items():
        results.add(f"drained into {how}", "/s", kernel, values, note="of one full ring")
