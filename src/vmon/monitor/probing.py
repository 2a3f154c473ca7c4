"""The probe of an attached guest: put in when something first needs it, taken out when nothing does.

Writes to the guest, through vmon.probe and the ports of the connection. An event's program is known from what was seen
to start or was there before; what ended before it was seen has none.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from vmon.core.errors import NotSupported, UsageError
from vmon.core.events import Event, EventCounts
from vmon.core.ports import PatchCode, PauseReport, ReadPhys, WakeVm, WritePhys
from vmon.core.records import ProbeRecord
from vmon.core.rules import Rule, RuleRecord
from vmon.linux.kernel import Kernel
from vmon.probe.hooks import EVENTS
from vmon.probe.install import Ports, Probe, find, install
from vmon.probe.records import Decoder
from vmon.probe.rules import RuleTable

NAMES = tuple(event.name for event in EVENTS)
IDLE_S = 0.002
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

    def __init__(self, probe: Probe, events: Sequence[str], programs: dict[str, str]) -> None:
        """`programs` are those of the processes that are there already, by key."""
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

    def start(self) -> None:
        """From now on. Starts, execs and ends are recorded whatever was asked for: programs are known by them."""
        recorded = self._wanted | {"process.fork", "process.exec", "process.exit"}
        kinds = sum(1 << self._probe.abi.events[name] for name in recorded)
        self._ring.take()
        self._probe.put("log_kinds", kinds)
        self._probe.switch(on=True)

    def stop(self) -> None:
        """Recorded is only what rules ask for; without rules nothing passes through the probe any more."""
        self._probe.put("log_kinds", 0)
        if not self._probe.get("config", "table"):
            self._probe.switch(on=False)

    def take(self) -> list[Event]:
        """What has happened since the last call."""
        found = []
        for event in self._decoder.iter_events(self._ring.take()):
            self._learn(event)
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
        """Events until `timeout_s` has passed; for ever without one. Polls 500 times a second while nothing happens."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            found = self.take()
            yield from found
            if deadline is not None and time.monotonic() >= deadline:
                return
            if not found:
                time.sleep(IDLE_S)

    def counts(self) -> list[EventCounts]:
        """Totals of each kind since the probe was installed."""
        seen, lost, denied = (self._probe.counters(name) for name in ("seen", "lost", "denied"))
        return [
            EventCounts(event=name, seen=seen[name], lost=lost[name], denied=denied[name]) for name in NAMES
        ]


def add_rules(probe: Probe, rules: Sequence[Rule], *, enforce: bool) -> list[RuleRecord]:
    """Put rules behind those in force."""
    table = RuleTable(probe)
    table.replace([record.rule for record in table.read()] + list(rules))
    probe.put("enforce", int(enforce))
    probe.switch(on=True)
    return table.read()
