"""What it costs to write events down: each format, and the whole way from the ring to a file, with nothing lost."""

from __future__ import annotations

import gc
import os
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bench.series import Results
from vmon.core.events import EventCounts
from vmon.export.formats import FORMATS, encoder
from vmon.lab.guest import LabGuest
from vmon.monitor.attach import attach
from vmon.monitor.machine import VirtualMachine
from vmon.monitor.origin import origin_of
from vmon.probe.ring import Batch
from vmon.sinks.places import open_place, read_place

LIVE_S = 10.0
MOST_US = 50.0
"""Of CPU time an event: 20,000 a second on one core."""


def measure_outputs(results: Results, guest: LabGuest, kernel: str, *, quick: bool) -> None:
    """All series of this file for one guest; the probe is out at the end."""
    with attach(guest.name) as vm, tempfile.TemporaryDirectory() as folder:
        try:
            vm.install_probe()
            batch = full_ring(vm, guest)
            measure_formats(results, vm, batch, kernel, rounds=2 if quick else 5)
            measure_way(results, vm, batch, kernel, Path(folder), rounds=2 if quick else 5)
            seconds = LIVE_S / 2 if quick else LIVE_S
            measure_live(results, vm, guest, kernel, Path(folder), seconds=seconds, nice=0)
            measure_live(results, vm, guest, kernel, Path(folder), seconds=seconds, nice=-10)
        finally:
            vm.remove_probe()


def full_ring(vm: VirtualMachine, guest: LabGuest) -> Batch:
    """One ring of opens."""
    stream = vm.event_stream("file.open")
    stream.start()
    guest.run("/lab/work opens 5000 50", timeout_s=60)
    batch = stream._ring.take()
    stream.stop()
    return batch


def measure_formats(results: Results, vm: VirtualMachine, batch: Batch, kernel: str, rounds: int) -> None:
    """Encoding alone, by CPU time."""
    events = list(vm.event_stream("file.open")._decoder.iter_events(batch))
    origin = origin_of(vm)
    for name in FORMATS:
        encode = encoder(name)
        found = [
            spent_us(lambda encode=encode: [encode(event, origin) for event in events]) for _ in range(rounds)
        ]
        results.add(f"an event to {name}", "us", kernel, [spent / len(events) for spent in found])


def measure_way(
    results: Results, vm: VirtualMachine, batch: Batch, kernel: str, folder: Path, rounds: int
) -> None:
    """One full ring again and again: arrays, objects, JSON lines, queue, file; CPU time of both threads."""
    stream = vm.event_stream("file.open")
    origin = origin_of(vm)
    found = []
    for number in range(rounds):
        path = folder / f"way{number}"
        queue = open_place(read_place(f"file:{path}"))
        begin, repeats = time.process_time(), 10
        for _ in range(repeats):
            for event in stream._decoder.iter_events(batch):
                stream._known.learn(event)
                queue.put(event, origin)
        total = queue.close(60.0)
        found.append((time.process_time() - begin) * 1e6 / total.delivered)
        assert total.delivered == repeats * len(batch), total
        assert path.read_bytes().count(b"\n") == total.delivered
    results.add("an event from the ring to a file", "us", kernel, found, MOST_US, note="CPU time, JSON lines")


def measure_live(
    results: Results,
    vm: VirtualMachine,
    guest: LabGuest,
    kernel: str,
    folder: Path,
    *,
    seconds: float,
    nice: int,
) -> None:
    """A guest that opens files as fast as it can, watched into a file: how many arrive, what is lost.

    `nice` is that of the threads that read and write: on a host with more work than CPUs they must not wait longer
    than a full ring lasts, a fifth of a second.
    """
    stream = vm.event_stream("file.open")
    origin = origin_of(vm)
    with suppress(PermissionError):
        # Threads that are started from here on too: one that has the interpreter keeps the reader waiting.
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    queue = open_place(read_place(f"file:{folder}/live"))
    before = lost_of(stream.counts())
    stream.start()
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            guest.run("/lab/work opens 20000 4", timeout_s=120)

    thread = threading.Thread(target=work)
    thread.start()
    gc.collect()
    gc.freeze()
    begin, spent = time.perf_counter(), time.process_time()
    for event in stream.follow(seconds):
        queue.put(event, origin)
    gc.unfreeze()
    took, spent = time.perf_counter() - begin, time.process_time() - spent
    lost = lost_of(stream.counts()) - before
    done.set()
    thread.join()
    stream.stop()
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    total = queue.close(60.0)
    note = f"{lost} lost in the ring, {total.dropped} dropped; {spent / took:.0%} of a core"
    at = f", nice {nice}" if nice else ""
    results.add(f"a busy guest to a file{at}", "/s", kernel, [total.delivered / took], note=note)
    results.add(f"CPU time of each of these{at}", "us", kernel, [spent * 1e6 / total.delivered], MOST_US)


def lost_of(counts: list[EventCounts]) -> int:
    """Of all kinds."""
    return sum(count.lost for count in counts)


def spent_us(work: Callable[[], object]) -> float:
    """Microseconds of CPU time."""
    begin = time.process_time()
    work()
    return (time.process_time() - begin) * 1e6
