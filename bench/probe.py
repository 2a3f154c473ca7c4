"""How long the probe makes a guest stand still, and what acting and watching take on the host."""

from __future__ import annotations

import threading
import time

from bench.series import Results
from vmon.core.rules import Rule
from vmon.lab.guest import LabGuest
from vmon.monitor.attach import attach
from vmon.monitor.machine import VirtualMachine


def measure_probe(results: Results, guest: LabGuest, kernel: str, *, quick: bool) -> None:
    """All series of this file for one guest; the probe is out at the end."""
    rounds = 3 if quick else 10
    with attach(guest.name) as vm:
        try:
            measure_pauses(results, vm, kernel, rounds)
            measure_signals(results, vm, guest, kernel, rounds)
            measure_asks(results, vm, guest, kernel, rounds)
            measure_drain(results, vm, guest, kernel)
        finally:
            vm.remove_probe()


def measure_pauses(results: Results, vm: VirtualMachine, kernel: str, rounds: int) -> None:
    """How long the guest stands still."""
    into, out = [], []
    for _ in range(rounds):
        into.append(vm.install_probe().paused_ms)
        removal = vm.remove_probe()
        out.append((removal.paused_ns + removal.held_ns) / 1e6)
    results.add("pause to put the probe in", "ms", kernel, into, 20.0)
    results.add("pause to take it out", "ms", kernel, out, 20.0)


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


def measure_asks(results: Results, vm: VirtualMachine, guest: LabGuest, kernel: str, rounds: int) -> None:
    """How much longer an open takes when a Python function on the host is asked about it, by the guest's clock."""
    rule = Rule(events=("file.open",), path="/etc/passwd", action="ask", timeout_ms=5000)
    stream = vm.event_stream("file.open", decide=lambda _: "allow")
    done = threading.Event()

    def answer() -> None:
        while not done.is_set():
            for _ in stream.follow(timeout_s=0.2):
                pass

    thread = threading.Thread(target=answer)
    times: dict[bool, list[float]] = {True: [], False: []}
    stream.start()
    thread.start()
    for _ in range(rounds):
        for asked in (True, False):
            if asked:
                vm.add_rules([rule])
            else:
                vm.drop_rules()
            median_ns = guest.run("/lab/work opens 2000 1", timeout_s=60).text.split()[0]
            times[asked].append(float(median_ns) / 1e3)
    done.set()
    thread.join()
    unanswered = sum(count.unanswered for count in stream.counts())
    stream.stop()
    longer = [asked - bare for asked, bare in zip(times[True], times[False], strict=True)]
    results.add(
        "a question to Python before an open", "us", kernel, longer, 20.0, note=f"{unanswered} unanswered"
    )


def measure_drain(results: Results, vm: VirtualMachine, guest: LabGuest, kernel: str) -> None:
    """A full ring into arrays, and into event objects."""
    stream = vm.event_stream("file.open")
    stream.start()
    rates: dict[str, list[float]] = {"arrays": [], "events": []}
    for _ in range(5):
        for how, values in rates.items():
            guest.run("/lab/work opens 5000 50", timeout_s=60)
            begin = time.perf_counter()
            batch = stream._ring.take()
            count = len(batch)
            if how == "events":
                count = len(list(stream._decoder.iter_events(batch)))
            values.append(count / (time.perf_counter() - begin))
    stream.stop()
    for how, values in rates.items():
        results.add(f"drained into {how}", "/s", kernel, values, note="of one full ring")
