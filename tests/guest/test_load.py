"""How busy a guest is, as it says itself: /proc/uptime, /proc/loadavg, /proc/stat."""

from __future__ import annotations

import time

import vmon
from tests.guest.conftest import say
from vmon.lab.guest import LabGuest

IDLE_LAG_S = 4.0
"""An idle guest's clock is as of its last tick: mostly less than a second old, on a loaded host more."""


def test_clock_and_load(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    deadline = time.monotonic() + 120
    while True:
        before = float(say(guest, "cat /proc/uptime").split()[0])
        loads = say(guest, "cat /proc/loadavg").split()[:3]
        (record,) = answer = vm.load()
        again = say(guest, "cat /proc/loadavg").split()[:3]
        after = float(say(guest, "cat /proc/uptime").split()[0])
        assert answer.coverage == []
        assert record.uptime_ns is not None
        assert before - IDLE_LAG_S <= record.uptime_ns / 1e9 <= after
        seen = (record.load_1, record.load_5, record.load_15)
        # The kernel rounds by its own fixed point.
        if loads == again and all(abs(a - float(b)) <= 0.011 for a, b in zip(seen, loads, strict=True)):
            break
        assert time.monotonic() < deadline, (seen, loads, again)
    assert record.cpus == [0, 1]


def test_a_busy_cpu_is_seen(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    before = vm.load()[0]
    say(guest, "taskset -c 1 sh -c 'i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done'")
    told = {line.split()[0]: line.split() for line in say(guest, "grep ^cpu[0-9] /proc/stat").splitlines()}
    after = vm.load()[0]
    for cpu, was, now in zip(after.cpus, before.busy, after.busy, strict=True):
        user, nice, system, _, _, irq, softirq, steal = map(int, told[f"cpu{cpu}"][1:9])
        assert was <= (user + nice + system + irq + softirq + steal) / 100 <= now + 0.09
    assert after.busy[1] > before.busy[1]
