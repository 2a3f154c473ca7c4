"""A policy in force: what the probe decided is told, what it left to the host is judged here, and what is due is done.

Reads the events of one stream and answers its asks; writes rules, signals and quarantines through the machine, in the
thread that reads the stream: an ask may wait for a signal that is being sent, some milliseconds. The guest can lie in
its events; a process is met by pid and start time, so the one that the event names, or none.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from vmon.core.detection import Detection, Done
from vmon.core.ecs import Fields
from vmon.core.errors import NoSuchProcess, VmonError
from vmon.core.events import Answer, Event
from vmon.core.rules import RuleRecord
from vmon.monitor.described import described
from vmon.monitor.policies import as_read, is_of, rules_on
from vmon.monitor.telling import Limits
from vmon.policy.file import PolicyRule
from vmon.policy.plan import EXEC, Entry, Plan
from vmon.policy.rule import Matcher

if TYPE_CHECKING:
    from vmon.control.asks import Decide
    from vmon.monitor.machine import VirtualMachine
    from vmon.monitor.stream import EventStream

STARTS_WITHIN_S = 1.0
"""An exec that was checked has happened, or failed, after so long."""
MAX_PENDING = 4096


class InForce:
    """One reading of a policy, and the numbers that its rules have in the guest."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.matcher = Matcher([rule.on_host(plan.mode) for rule in plan.policy.rules])
        self.started = frozenset(number for number, at in enumerate(plan.placements) if at.started)
        self.events = sorted(self.matcher.events)
        self.entries: dict[int, Entry] = {}

    def numbered(self, records: Sequence[RuleRecord]) -> None:
        """The probe's rules, one an entry, are known by these numbers."""
        entries = zip(records, self.plan.entries, strict=True)
        self.entries = {record.number: entry for record, entry in entries}

    def find(self, records: Sequence[RuleRecord]) -> None:
        """The same, of rules that are in the order of the entries: others may be among them, and some missing."""
        self.entries, left = {}, list(zip(self.plan.entries, as_read(self.plan), strict=True))
        for record in records:
            at = next((row for row, (_, own) in enumerate(left) if is_of(own, record.rule)), None)
            if at is not None:
                self.entries[record.number] = left[at][0]
                del left[: at + 1]

    def first(self, event: Event, fields: Fields, begin: int = 0, *, before: bool = False) -> int | None:
        """The first rule that fits, from `begin` on; `before`: none of those about a program that has started."""
        for number, _ in self.matcher.numbered(event.event, fields):
            if number >= begin and not (before and number in self.started):
                return number
        return None

    def rule(self, number: int) -> PolicyRule:
        """One rule of the file."""
        return self.plan.policy.rules[number]


class _Checked(msgspec.Struct):
    """An exec that was checked, and is told of when it has happened, with its arguments."""

    force: InForce
    number: int
    detection: Detection
    until: float


class Enforcer:
    """`tell` is given each detection; `answer` is a person's, or whoever's, for the verb ask: None lets the fallbacks
    decide."""

    def __init__(
        self,
        vm: VirtualMachine,
        plan: Plan,
        tell: Callable[[Detection], None],
        answer: Decide | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._vm = vm
        self._tell_one = tell
        self._answer = answer
        self._clock = clock
        self._force = InForce(plan)
        self._old: InForce | None = None
        self._stream: EventStream | None = None
        self._said: dict[int, tuple[InForce, int | None]] = {}
        self._checked: dict[str, _Checked] = {}
        self._limits = Limits(clock)
        self.told = 0
        """Detections so far, those that were not told for their rate included."""

    # Rules in and out.

    def listen(self, stream: EventStream) -> EventStream:
        """The stream that `see` and `decide` are given events of; not started yet."""
        self._stream = stream
        stream.require_seen(self._force.events)
        stream.record(())
        stream.decide_by(self.decide if self._force.plan.asks else None)
        stream.known.look_closely()
        return stream

    def put_in(self) -> int:
        """Put the rules in force; how many the probe judges."""
        force = self._force
        rules = rules_on(self._vm, force.plan)
        if rules:
            force.numbered(self._vm.add_rules(rules))
        return len(rules)

    def reload(self, plan: Plan) -> int:
        """Put another policy in force in the place of this one, at once. What is refused by both is refused throughout.

        PolicyError, UsageError or another VmonError: this one stays in force.
        """
        force = InForce(plan)
        if self._stream is not None:
            self._stream.require_seen(force.events)
        rules = rules_on(self._vm, plan)
        if self._stream is not None and plan.asks and not self._force.plan.asks:
            # Before the first ask, which would get its fallback.
            self._stream.decide_by(self.decide)
        force.numbered(self._vm.exchange_rules(list(self._force.entries), rules))
        # Of what was decided a moment ago the events may still come.
        self._old, self._force = self._force, force
        if self._stream is not None and self._old.plan.asks and not plan.asks:
            self._stream.decide_by(None)
        return len(rules)

    def found_again(self) -> None:
        """Somebody put the rules in again, after a reboot or a repair: they have other numbers."""
        self._force.find(self._vm.rules())

    @property
    def numbers(self) -> list[int]:
        """Of the rules in the probe."""
        return list(self._force.entries)

    # Events.

    def decide(self, event: Event) -> Answer:
        """The answer to an event that waits."""
        force, entry = self._entry(event.rule)
        if entry is None:
            return self._of_another(event)
        number: int | None = entry.number
        happened = event.event == EXEC and event.cmdline is not None
        if not entry.exact or happened:
            fields = self._fields(event)
            begin = 0 if happened else entry.number
            number = force.first(event, fields, begin, before=not happened)
            if happened and number is not None and number not in force.started:
                number = None  # it was decided before
        self._said[event.sequence] = force, number
        if number is None:
            return "allow"
        rule = force.rule(number)
        if rule.observed(force.plan.mode):
            return "allow"
        if rule.verb == "ask":
            return self._answer(event) if self._answer is not None else rule.fallback or "deny"
        return {"deny": "deny", "kill": "kill"}.get(rule.verb, "allow")  # type: ignore[return-value]

    def _of_another(self, event: Event) -> Answer:
        if self._answer is not None:
            return self._answer(event)
        rules = {record.number: record.rule for record in self._vm.rules()}
        return rules[event.rule].fallback if event.rule in rules else "deny"

    def see(self, event: Event) -> None:
        """An event of the stream, asked about or not: tell of it and do what is due."""
        happened = event.event == EXEC and event.cmdline is not None
        if happened:
            # What was found when it was checked is told now, with the arguments.
            self._tell_checked(event.key, event.cmdline)
        if event.sequence in self._said:
            force, number = self._said.pop(event.sequence)
            if number is not None:
                self._found(force, number, event)
            return
        if happened:
            self._happened(event)
            return
        if event.event == "process.exit" and event.key in self._checked:
            self._tell_checked(event.key)
        force, entry = self._entry(event.rule)
        if entry is None or (entry.exception and entry.exact):
            return
        number = entry.number if entry.exact else self._first_from(force, entry, event)
        if number is not None:
            self._found(force, number, event)

    def _first_from(self, force: InForce, entry: Entry, event: Event) -> int | None:
        return force.first(event, self._fields(event), entry.number, before=True)

    def _happened(self, event: Event) -> None:
        """A program has started, and nobody was asked."""
        force = self._force
        if force.started:
            number = force.first(event, self._fields(event))
            if number is not None and number in force.started:
                self._found(force, number, event)

    def rest(self, *, end: bool = False) -> None:
        """Call it now and then: what waits for something that does not come is told."""
        now = self._clock()
        for key in [key for key, checked in self._checked.items() if end or checked.until < now]:
            self._tell_checked(key)
        if len(self._said) > MAX_PENDING:
            self._said.clear()

    def suppressed(self) -> list[tuple[str, int]]:
        """Rules, by their titles, and how many of each were not told since the last that was: their rate."""
        return [(title, count) for title, count in self._limits.left() if count]

    # What is found.

    def _found(self, force: InForce, number: int, event: Event) -> None:
        rule = force.rule(number)
        if rule.verb == "allow":
            return
        done, reason = self._do(force, rule, event)
        detection = Detection(rule=rule.info, event=event, verb=rule.verb, done=done, reason=reason)
        refused = event.verdict in ("denied", "killed")
        if event.event == EXEC and event.cmdline is None and not refused and len(self._checked) < MAX_PENDING:
            self._tell_checked(event.key)
            until = self._clock() + STARTS_WITHIN_S
            self._checked[event.key] = _Checked(force, number, detection, until)
        else:
            self._tell(force, number, detection)

    def _tell_checked(self, key: str, cmdline: list[str] | None = None) -> None:
        checked = self._checked.pop(key, None)
        if checked is None:
            return
        detection = checked.detection
        if cmdline is not None:
            event = msgspec.structs.replace(detection.event, cmdline=cmdline)
            detection = msgspec.structs.replace(detection, event=event)
        self._tell(checked.force, checked.number, detection)

    def _tell(self, force: InForce, number: int, detection: Detection) -> None:
        self.told += 1
        rule = force.rule(number)
        suppressed = self._limits.ask(rule.info, rule.rate)
        if suppressed is not None:
            self._tell_one(msgspec.structs.replace(detection, suppressed=suppressed))

    def _do(self, force: InForce, rule: PolicyRule, event: Event) -> tuple[Done, str]:
        """Do what is left to do; what came of it, and why not."""
        if rule.verb != "log" and (rule.observed(force.plan.mode) or event.verdict.startswith("would")):
            return "would", ""
        if rule.verb in ("log", "ask") or event.verdict in ("denied", "killed"):
            return "done", ""
        if rule.verb == "deny":
            return "failed", "no answer came in time"
        try:
            return self._act(rule, event) if self._vm.enforcing else ("would", "")
        except NoSuchProcess:
            return "failed", "gone already"
        except VmonError as error:
            return "failed", error.message

    def _act(self, rule: PolicyRule, event: Event) -> tuple[Done, str]:
        if rule.verb == "quarantine":
            self._vm.quarantine(event.pid, key=event.key)
            return "done", ""
        number = signal.SIGSTOP if rule.verb == "suspend" else signal.SIGKILL
        act = self._vm.signal(event.pid, number, key=event.key)
        return ("done", "") if act.done else ("failed", act.outcome)

    def _entry(self, number: int) -> tuple[InForce, Entry | None]:
        for force in (self._force, self._old):
            if force is not None and number in force.entries:
                return force, force.entries[number]
        return self._force, None

    def _fields(self, event: Event) -> Fields:
        assert self._stream is not None
        return described(event, self._stream.known)
