"""How a guest that moves is compared with its own word; and the short comparison, every field of every process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import vmon
from tests.guest.conftest import ask_truth
from tests.guest.truth import Truth, seen_process
from vmon.lab.guest import LabGuest

ProcessFields = dict[str, object]
Told = TypeVar("Told")
Seen = TypeVar("Seen")
LOOKS = 10
PAUSE_S = 0.3


def while_still(tell: Callable[[], Told], see: Callable[[], Seen], looks: int = 20) -> tuple[Told, Seen]:
    """What the guest says and what vmon sees in between, where it says the same before and after."""
    before = tell()
    for _ in range(looks):
        seen, after = see(), tell()
        if before == after:
            return before, seen
        before = after
        time.sleep(PAUSE_S)
    raise AssertionError(f"the guest never said the same twice in {looks} looks: {before!r}")


def settles(compare: Callable[[], None], looks: int = LOOKS) -> None:
    """A comparison of two reads of different moments, made again where something moved between them: it holds once.

    What is wrong stays wrong, so the last difference is told.
    """
    for left in reversed(range(looks)):
        try:
            compare()
            return
        except AssertionError:
            if not left:
                raise
            time.sleep(PAUSE_S)


def lived_through(before: Truth, after: Truth) -> list[int]:
    """Processes that were there both times, and did not end meanwhile."""
    last = after.pids()
    # A process that became a zombie meanwhile was ending: what it still had is not the question here. One that ended
    # while its own files were read has not all of them.
    return [
        pid
        for pid, start in before.pids().items()
        if last.get(pid) == start
        and after.is_whole(pid)
        and (before.stat(pid)[0] == "Z") == (after.stat(pid)[0] == "Z")
    ]


def differences(
    before: Truth, after: Truth, seen: dict[int, ProcessFields]
) -> tuple[list[tuple[object, ...]], int]:
    """Fields where vmon said neither what /proc said before nor what it said after; and how many were compared."""
    wrong: list[tuple[object, ...]] = []
    compared = 0
    for pid in lived_through(before, after):
        if pid not in seen:
            wrong.append((pid, before.comm(pid), "not listed"))
            continue
        first, last = before.process(pid), after.process(pid)
        for name in first:
            if name == "state" and before.switches(pid) != after.switches(pid):
                continue  # it ran meanwhile, so any state was true for a moment
            compared += 1
            if seen[pid][name] not in (first[name], last[name]):
                wrong.append((pid, before.comm(pid), name, seen[pid][name], first[name], last[name]))
    return wrong, compared


def assert_agrees(guest: LabGuest, vm: vmon.VirtualMachine, least: int) -> None:
    """Every field of every process agrees with /proc; at least `least` fields were compared."""
    before = ask_truth(guest)
    seen = {process.pid: seen_process(process.record()) for process in vm.processes()}
    after = ask_truth(guest)
    wrong, compared = differences(before, after, seen)
    assert not wrong, "\n".join(map(str, wrong[:20]))
    assert compared >= least
