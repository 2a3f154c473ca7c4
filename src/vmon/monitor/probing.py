"""The probe of an attached guest: put in when something first needs it, taken out when nothing does.

Writes to the guest, through vmon.probe and the ports of the connection. An event's program is known from what was seen
to start or was there before; what ended before it was seen has none.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vmon.control.asks import Asker, Decide
from vmon.core.errors import NotSupported, TargetBusy, UsageError
from vmon.core.events import Event, EventCounts
from vmon.core.ports import PatchCode, PauseReport, ReadPhys, WakeVm, WritePhys
from vmon.core.records import ProbeRecord
from vmon.core.rules import Rule, RuleRecord
from vmon.linux.kernel import Kernel
from vmon.linux.snapshot import Snapshot
from vmon.probe.hooks import EVENTS
from vmon.probe.install import Ports, Probe, find, install
from vmon.probe.records import Decoder
from vmon.probe.rules import Family, RuleTable

COUNTERS = ("seen", "lost", "denied", "asked", "unanswered")
NAMES = tuple(event.name for event in EVENTS)
IDLE_S = 0.002
ASKER_IDLE_S = 0.0002
HOT_S = 0.02
MAX_KNOWN = 100_000


def ports_of(ram: ReadPhys, vm: object) -> Ports:
    """What writes to a guest; NotSupported for a target that can't be written to."""
    if isinstance(ram, WritePhys) and isinstance(vm, PatchCode) and isinstance(vm, WakeVm):
        return Ports(ram, vm, vm)
    raise NotSupported(
        "this target can't be written to: it is a dump", hint="`vmon doctor TARGET` tells what can be done"
    )


def require_probe(kernel: Kernel, ports: Ports) -> Probe:
    """The probe that is active in a guest; NotSupported where there is none."""
    probe = find(kernel, ports)
    if probe is None or not probe.hooked():
        raise NotSupported("no probe is active in this guest")
    return probe


def put_in(kernel: Kernel, ports: Ports, ring_bytes: int) -> tuple[Probe, ProbeRecord]:
    """Install the probe, or adopt the one that is there."""
    probe, report = install(kernel, ports, ring_bytes)
    seen = probe.events()
    return probe, ProbeRecord(
        installed=report.patches > 0,
        sites=report.patches,
        paused_ms=round(report.paused_ns / 1e6, 3),
        events=seen,
        not_seen={name: "`vmon doctor` tells why" for name in NAMES if name not in seen},
    )


def take_out(kernel: Kernel, ports: Ports) -> PauseReport:
    """Remove the probe; nothing happens where there is none."""
    probe = find(kernel, ports)
    return PauseReport(0, 0) if probe is None else probe.remove()


class EventStream:
    """Events of one probe as they happen."""

    def __init__(
        self,
        probe: Probe,
        events: Sequence[str],
        programs: dict[str, str],
        decide: Decide | None = None,
    ) -> None:
        """`programs` are those of the processes that are there already, by key; `decide` answers what is asked."""
        seen = probe.events()
        for name in events:
            if name not in NAMES:
                raise UsageError(f"there is no event {name!r}", hint=f"the events are {', '.join(NAMES)}")
            if name not in seen:
                raise NotSupported(
                    f"{name} can't be seen in this guest", hint="`vmon doctor TARGET` tells why"
                )
        self._probe = probe
        self._wanted = frozenset(events or NAMES)
        self._programs = programs
        self._decoder = Decoder(probe.abi, programs.get)
        self._ring = probe.ring()
        self._decide = decide
        self._asker: Asker | None = None
        self._hot_until = 0.0

    def start(self) -> None:
        """From now on. Starts, execs and ends are recorded whatever was asked for: programs are known by them."""
        recorded = self._wanted | {"process.fork", "process.exec", "process.exit"}
        kinds = sum(1 << self._probe.abi.events[name] for name in recorded)
        self._claim()
        self._ring.take()
        self._probe.put("log_kinds", kinds)
        self._probe.switch(on=True)
        if self._decide is not None:
            self._asker = Asker(self._probe, self._decide)

    def _claim(self) -> None:
        """A ring has one reader: two would take each other's events."""
        reader = self._probe.get("config", "reader")
        if reader not in (0, os.getpid()) and Path(f"/proc/{reader}").exists():
            raise TargetBusy(
                f"another vmon (process {reader}) takes the events of this guest",
                hint="end it, or let it write them down for both: vmon watch -o jsonl",
            )
        self._probe.put("reader", os.getpid())

    def stop(self) -> None:
        """Recorded is only what rules ask for; without rules nothing passes through the probe any more."""
        if self._asker is not None:
            self._asker.close()
            self._asker = None
        self._probe.put("reader", 0)
        self._probe.put("log_kinds", 0)
        self._probe.switch(on=bool(self._probe.get("config", "table_at")))

    def take(self) -> list[Event]:
        """What has happened since the last call."""
        found = []
        for event in self._decoder.iter_events(self._ring.take()):
            self._learn(event)
            if event.ask and event.verdict == "asked" and self._asker is not None:
                event = self._asker.answer(event)
                self._hot_until = time.monotonic() + HOT_S
            if event.event in self._wanted:
                found.append(event)
        return found

    def _learn(self, event: Event) -> None:
        programs = self._programs
        if event.event == "process.exec" and event.cmdline and event.exe:
            programs[event.key] = event.exe
        elif event.event == "process.fork" and event.target_key and (exe := programs.get(event.key)):
            programs[event.target_key] = exe
        elif event.event == "process.exit":
            programs.pop(event.key, None)
        if len(programs) > MAX_KNOWN:
            programs.clear()

    def follow(self, timeout_s: float | None = None) -> Iterator[Event]:
        """Events until `timeout_s` has passed; for ever without one.

        Polls 500 times a second while nothing happens; who answers asks polls 5,000 times, and without a rest for a
        moment after each.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            found = self.take()
            yield from found
            if deadline is not None and time.monotonic() >= deadline:
                return
            if not found and time.monotonic() >= self._hot_until:
                time.sleep(IDLE_S if self._asker is None else ASKER_IDLE_S)

    def counts(self) -> list[EventCounts]:
        """Totals of each kind since the probe was installed."""
        columns = {name: self._probe.counters(name) for name in COUNTERS}
        return [
            EventCounts(event=name, **{column: values[name] for column, values in columns.items()})
            for name in NAMES
        ]


def family_of(snapshot: Callable[[], Snapshot]) -> Family:
    """Who descends from a process, asked of the guest each time."""

    def family(root: tuple[int, int]) -> list[tuple[int, int]]:
        found = snapshot()
        keys = list(zip(found.pid, found.start_boottime_ns, strict=True))
        parents = dict(zip(keys, found.ppid, strict=True))
        members = {root[0]} if root in parents else set()
        while True:
            more = {key[0] for key, ppid in parents.items() if ppid in members} - members
            if not more:
                return [key for key in keys if key[0] in members]
            members |= more

    return family


def add_rules(table: RuleTable, probe: Probe, rules: Sequence[Rule], *, enforce: bool) -> list[RuleRecord]:
    """Put rules behind those in force; those that were put there."""
    added = table.add(rules)
    probe.put("enforce", int(enforce))
    probe.switch(on=True)
    return added
