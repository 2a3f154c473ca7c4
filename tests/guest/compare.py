"""The short comparison of a guest with its own /proc: every field of every process."""

from __future__ import annotations

import vmon
from tests.guest.conftest import ask_truth
from tests.guest.truth import Truth, seen_process
from vmon.lab.guest import LabGuest

ProcessFields = dict[str, object]


def lived_through(before: Truth, after: Truth) -> list[int]:
    """Processes that were there both times, and did not end meanwhile."""
    last = after.pids()
    # A process that became a zombie meanwhile was ending: what it still had is not the question here.
    return [
        pid
        for pid, start in before.pids().items()
        if last.get(pid) == start and (before.stat(pid)[0] == "Z") == (after.stat(pid)[0] == "Z")
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
