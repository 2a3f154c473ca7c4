"""The states of the probe that are compared, from none to one that records everything and is emptied by a watcher."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from vmon.core.errors import VmonError
from vmon.core.events import Event
from vmon.core.rules import Rule
from vmon.monitor.machine import VirtualMachine
from vmon.monitor.stream import EventStream
from vmon.probe.ring import Batch

BARE = "bare"
IDLE = "idle"
NOTHING_FITS = "nothing fits"
RECORDED = "recorded"
MANY_RULES = 1000
RULES = f"{MANY_RULES} rules"
STATES = (BARE, IDLE, NOTHING_FITS, RECORDED, RULES)
TAKEN_EVERY_S = 0.005
TRIES = 20

T = TypeVar("T")


class EventsLost(Exception):
    """What is lost costs less than what is recorded: such a measurement does not count."""


def measure_in(vm: VirtualMachine, state: str, measure: Callable[[], T]) -> tuple[T, list[Event]]:
    """Measure in a state of the probe, with what was recorded; again where this host was too busy to take it all."""
    for left in reversed(range(TRIES)):
        try:
            with enter(vm, state) as events:
                measured = measure()
            return measured, events
        except EventsLost:
            if not left:
                raise
    raise AssertionError("unreachable")


@contextmanager
def enter(vm: VirtualMachine, state: str) -> Iterator[list[Event]]:
    """Put the probe into a state, from scratch; what is recorded is taken meanwhile, as a watcher does.

    The events are in the list at the end, made when the work is over. EventsLost where the watcher was too slow,
    VmonError where there was nothing to record: that would be the idle probe again.
    """
    events: list[Event] = []
    vm.remove_probe()
    if state == BARE:
        yield events
        return
    stream = vm.event_stream()
    if state == RECORDED:
        before = lost(stream)
        with emptied(stream) as batches:
            yield events
        if lost(stream) != before:
            raise EventsLost(f"{lost(stream) - before} events")
        for batch in batches:
            events += stream._decoder.iter_events(batch)
        if not events:
            raise VmonError("nothing was recorded")
        return
    if state != IDLE:
        count = 1 if state == NOTHING_FITS else MANY_RULES
        vm.add_rules([Rule(events=("file.open", "process.exec"), path=f"/no/{n:010}") for n in range(count)])
    yield events


@contextmanager
def emptied(stream: EventStream) -> Iterator[list[Batch]]:
    """A stream that records, and a thread that takes the events; all are in the list at the end."""
    done = threading.Event()
    batches: list[Batch] = []
    reader = threading.Thread(target=lambda: take_until(stream, done, batches))
    stream.start()
    reader.start()
    try:
        yield batches
    finally:
        done.set()
        reader.join()
        stream.stop()


def take_until(stream: EventStream, done: threading.Event, batches: list[Batch]) -> None:
    """Empty the ring until told to stop, and then once more."""
    last = False
    while not last:
        last = done.wait(TAKEN_EVERY_S)
        batches.append(stream._ring.take())


def lost(stream: EventStream) -> int:
    """Events that the ring did not hold, since the guest booted."""
    return sum(count.lost for count in stream.counts())
