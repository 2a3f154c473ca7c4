from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.linux.build import Guest
from tests.unit.monitor.connection import FakeConnection
from tests.unit.monitor.test_machine import Clock
from vmon.monitor import machine
from vmon.monitor import sweep as sweep_module
from vmon.monitor.machine import VirtualMachine
from vmon.monitor.sweep import sweep


def world(*processes: tuple[int, bytes, int]) -> Guest:
    guest = Guest("new")
    guest.process(1, b"init")
    for pid, name, start in processes:
        guest.process(pid, name, start_boottime=start)
    return guest


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setenv("VMON_CACHE_DIR", str(tmp_path))
    made = Clock()
    monkeypatch.setattr(machine, "time", made)
    monkeypatch.setattr(sweep_module, "time", made)
    return made


def changes(clock: Clock, *worlds: Guest, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, str]]:
    """What a sweep says while one world follows the other, a step each."""
    connection = FakeConnection(worlds[0])
    vm = VirtualMachine("lab:x", connection)
    rest = iter(worlds[1:])

    def sleep(seconds: float) -> None:
        clock.now += seconds
        following = next(rest, None)
        if following is not None:
            connection.boot(following, reset=False)

    monkeypatch.setattr(clock, "sleep", sleep)
    steps = sweep(vm, interval_s=0.05, timeout_s=0.05 * len(worlds))
    return [(change.kind, change.record.pid, change.record.name) for change in steps]


def test_processes_that_start_change_and_end(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = changes(
        clock,
        world((10, b"old", 5)),
        world((10, b"old", 5), (11, b"sh", 6)),
        world((10, b"old", 5), (11, b"ls", 6)),
        world((10, b"old", 5)),
        monkeypatch=monkeypatch,
    )
    assert seen == [("started", 11, "sh"), ("changed", 11, "ls"), ("ended", 11, "ls")]


def test_a_pid_that_is_used_again_is_two_processes(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = changes(clock, world((10, b"one", 5)), world((10, b"two", 9)), monkeypatch=monkeypatch)
    assert seen == [("ended", 10, "one"), ("started", 10, "two")]


def test_nothing_happens(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    assert changes(clock, world(), world(), world(), monkeypatch=monkeypatch) == []


def test_what_ended_is_still_described(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = FakeConnection(world((10, b"gone", 5)))
    vm = VirtualMachine("lab:x", connection)
    after: Any = world()

    def sleep(seconds: float) -> None:
        clock.now += seconds
        connection.boot(after, reset=False)

    monkeypatch.setattr(clock, "sleep", sleep)
    (change,) = sweep(vm, timeout_s=0.01)
    assert (change.kind, change.record.name, change.record.start_boottime_ns) == ("ended", "gone", 5)
