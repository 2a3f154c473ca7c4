"""The states of the probe that are compared, from none to one that records everything and is emptied by a watcher."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from vmon.core.rules import Rule
from vmon.monitor.machine import VirtualMachine
from vmon.monitor.stream import EventStream

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


def measure_in(vm: VirtualMachine, state: str, measure: Callable[[], T]) -> T:
    """Measure in a state of the probe; again where this host was too busy to take what was recorded."""
    for left in reversed(range(TRIES)):
        try:
            with enter(vm, state):
                return measure()
        except EventsLost:
            if not left:
                raise
    raise AssertionError("unreachable")


@contextmanager
def enter(vm: VirtualMachine, state: str) -> Iterator[None]:
    """Put the probe into a state, from scratch; what is recorded is taken meanwhile, as a watcher does.

    EventsLost at the end where the watcher was too slow.
    """
    vm.remove_probe()
    if state == BARE:
        yield
        return
    stream = vm.event_stream()
    if state == RECORDED:
        before = lost(stream)
        with emptied(stream):
            yield
        if lost(stream) != before:
            raise EventsLost(f"{lost(stream) - before} events")
        return
    if state != IDLE:
        count = 1 if state == NOTHING_FITS else MANY_RULES
        vm.add_rules([Rule(events=("file.open", "process.exec"), path=f"/no/{n:010}") for n in range(count)])
    yield


@contextmanager
def emptied(stream: EventStream) -> Iterator[None]:
    """A stream that records, and a thread that takes the events."""
    done = threading.Event()
    reader = threading.Thread(target=lambda: take_until(stream, done))
    stream.start()
    reader.start()
    try:
        yield
    finally:
        done.set()
        reader.join()
        stream.stop()


def take_until(stream: EventStream, done: threading.Event) -> None:
    """Empty the ring until told to stop."""
    while not done.wait(TAKEN_EVERY_S):
        stream._ring.take()


def lost(stream: EventStream) -> int:
    """Events that the ring did not hold, since the guest booted."""
    return sum(count.lost for count in stream.counts())
