"""A policy as rules of the probe and what is left to the host: wherever a rule runs, the first that fits decides.

Pure. Each rule becomes entries of the probe's table, in the order of the file. An exact entry decides in the guest. One
that is wider than its rule hands the event to the host, which goes on from there with the rules as they are written:
the call waits for its answer where something may be refused, else it is told of and goes on. What can't keep this order
is refused, with the line.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from vmon.core.rules import Action, Rule
from vmon.policy.condition import fields_of
from vmon.policy.fields import ARGUMENTS, NEVER_ASKED, NEVER_REFUSED
from vmon.policy.file import REFUSING, Policy, PolicyRule
from vmon.policy.lines import Problems
from vmon.policy.narrow import PATHS, SAME, Narrowed, fragment, may_meet, narrowed, path_fits, rule_of
from vmon.policy.normal import TooMany, alternatives
from vmon.policy.words import Mode

ACTIONS = {"suspend": "log", "quarantine": "log"}
"""What the probe does for a verb that is the host's; all others are its own."""
EXEC = "process.exec"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One rule of the probe's table."""

    rule: Rule
    number: int
    """Of the policy's rule, from 0."""
    exact: bool
    """False: the host judges, from this rule on."""
    container: str = ""
    """Of which container: only a guest can tell its cgroup."""
    exception: bool = False
    """Whether it is what the rule is not about: it lets pass, or the host goes on behind the rule."""


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """Where a rule is judged and carried out."""

    guest: tuple[str, ...] = ()
    """Events that its probe decides by itself."""
    asked: tuple[str, ...] = ()
    """Events that wait for the host."""
    after: tuple[str, ...] = ()
    """Events that the host is told of."""
    started: bool = False
    """Whether it is judged once a program has started: its arguments are not known before."""
    why: tuple[str, ...] = ()
    """What the probe can't judge."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A policy, ready to be put in force."""

    policy: Policy
    mode: Mode
    entries: tuple[Entry, ...]
    placements: tuple[Placement, ...]
    notes: tuple[str, ...] = ()
    """What holds as it is written and may not be what was meant, FILE:LINE first."""

    @property
    def asks(self) -> bool:
        """Whether calls may wait for the host."""
        return any(entry.rule.action == "ask" and not entry.rule.observe for entry in self.entries)


class _Part(msgspec.Struct):
    """One rule on one kind of event."""

    event: str
    some: list[Narrowed]
    left: list[str]
    started: bool


def plan_of(policy: Policy, mode: Mode | None = None) -> Plan:
    """What a policy becomes in a mode, its own if none is said. PolicyError for what can't be done as it is written."""
    return _Planner(policy, mode or policy.mode).plan()


class _Planner:
    def __init__(self, policy: Policy, mode: Mode) -> None:
        self._policy = policy
        self._mode = mode
        self._problems = Problems(policy.file)
        self._said: set[tuple[int, str]] = set()
        self._parts = [[_part(rule, event) for event in rule.events] for rule in policy.rules]
        self._behind: dict[tuple[int, str], PolicyRule | None] = {}

    def plan(self) -> Plan:
        entries: list[Entry] = []
        placements = []
        for number, rule in enumerate(self._policy.rules):
            found: list[Entry] = []
            where: dict[str, list[str]] = {"guest": [], "asked": [], "after": []}
            for part in self._parts[number]:
                more = self._entries(number, rule, part)
                found += more
                where[self._where(rule, part, more)].append(part.event)
            entries += _merged(found)
            left = [said for part in self._parts[number] for said in part.left]
            placements.append(
                Placement(
                    **{name: tuple(events) for name, events in where.items()},
                    started=any(part.started for part in self._parts[number]),
                    why=tuple(dict.fromkeys(left)),
                )
            )
        self._problems.raise_any()
        return Plan(
            policy=self._policy,
            mode=self._mode,
            entries=tuple(entries),
            placements=tuple(placements),
            notes=tuple(self._notes(placements)),
        )

    def _notes(self, placements: list[Placement]) -> Iterator[str]:
        """Rules that the guest would carry out by itself, were it not asked about another one first."""
        rules = self._policy.rules
        for number, at in enumerate(placements):
            if not at.asked or rules[number].verb == "ask" or rules[number].fallback != "allow":
                continue
            for behind in range(number + 1, len(rules)):
                own = [part for part in self._parts[number] if part.event in at.asked]
                if not self._refuses(rules[behind]) or not placements[behind].guest:
                    continue
                if any(self._meet(part, behind, wide=True) for part in own):
                    place = rules[number].info.source.rpartition(":")[2]
                    yield (
                        f"{rules[behind].info.source}: while vmon is not there, what the rule of line {place} is asked "
                        "about passes, this rule's too: put this one before"
                    )
                    break

    def _where(self, rule: PolicyRule, part: _Part, entries: list[Entry]) -> str:
        if any(entry.rule.action == "ask" for entry in entries):
            return "asked"
        own = [entry for entry in entries if not entry.exception]
        if part.started or any(not entry.exact for entry in own) or rule.verb in ACTIONS:
            return "after"
        return "guest"

    def _refuses(self, rule: PolicyRule) -> bool:
        return rule.verb in REFUSING and not rule.observed(self._mode)

    def _entries(self, number: int, rule: PolicyRule, part: _Part) -> list[Entry]:
        """The entries of one rule for one kind of event, exceptions first."""
        self._say_what_can_not_be(number, rule, part)
        if part.started and not self._refuses(rule):
            return []  # each start of a program is told of
        entries: list[Entry] = []
        exceptions = self._exceptions(number, part)
        waits = self._must_ask(number, rule, part)
        for one in part.some:
            exact = not one.left and (not one.exceptions or exceptions is not None)
            if not exact and one.exceptions:
                part.left += [f"unless {literal.test.field}" for literal in one.exceptions]
            action = ACTIONS.get(rule.verb, rule.verb) if exact else "ask" if waits else "log"
            if not exact and part.event in NEVER_ASKED:
                action = "log"
            fields = {
                "action": action,
                "errno": self._errno(number, rule, part.event),
                "observe": exact and rule.observed(self._mode) and action in REFUSING,
                "timeout_ms": rule.timeout_ms,
                "fallback": rule.fallback or "deny",
            }
            entries.append(
                Entry(
                    rule=rule_of(part.event, one.parts, **fields),
                    number=number,
                    exact=exact,
                    container=one.container,
                )
            )
        return [*(exceptions or ()), *entries]

    def _errno(self, number: int, rule: PolicyRule, event: str) -> int:
        """Its own; of one that refuses nothing itself that of the first behind it that may."""
        if rule.verb in REFUSING:
            return rule.errno
        behind = (later for later in self._policy.rules[number + 1 :] if event in later.events)
        return next((later.errno for later in behind if self._refuses(later)), rule.errno)

    # What the host has to decide in time.

    def _must_ask(self, number: int, rule: PolicyRule, part: _Part) -> bool:
        if all(self._is_exact(number, part, one) for one in part.some) and not part.started:
            return False
        return self._refuses(rule) or self._refusing_behind(number, part) is not None

    def _is_exact(self, number: int, part: _Part, one: Narrowed) -> bool:
        return not one.left and (not one.exceptions or self._exceptions(number, part) is not None)

    def _refusing_behind(self, number: int, part: _Part) -> PolicyRule | None:
        """A later rule that may refuse what this one is about."""
        key = number, part.event
        if key not in self._behind:
            self._behind[key] = self._find_refusing(number, part)
        return self._behind[key]

    def _find_refusing(self, number: int, part: _Part) -> PolicyRule | None:
        for behind in range(number + 1, len(self._policy.rules)):
            later = self._policy.rules[behind]
            if self._refuses(later) and self._meet(part, behind, wide=True):
                return later
        return None

    def _meet(self, part: _Part, behind: int, *, wide: bool) -> bool:
        """Whether a later rule may be about the same events; `wide`: as those that this one hands to the host."""
        for other in self._parts[behind]:
            if other.event != part.event:
                continue
            some = [one for one in part.some if not wide or one.left or one.exceptions] or part.some
            if any(may_meet(part.event, one.parts, two.parts) for one in some for two in other.some):
                return True
        return False

    # Exceptions: entries before those of the rule that they are exceptions of.

    def _exceptions(self, number: int, part: _Part) -> list[Entry] | None:
        """Entries that let pass what the rule is not about, and hand it to the host where a later rule may be about it;
        None where that one may refuse it.
        """
        lists = [one.exceptions for one in part.some]
        if not any(lists):
            return []
        # What is an exception of one alternative alone would let pass what another one fits.
        if any(set(some) != set(lists[0]) for some in lists):
            return None
        found = []
        for one in part.some:
            for literal in one.exceptions:
                parts, _ = fragment(part.event, literal.test)
                merged = _merge(one.parts, parts)
                if merged is not None:
                    found.append((merged, one.container))
        told = False
        for behind in range(number + 1, len(self._policy.rules)):
            others = [other for other in self._parts[behind] if other.event == part.event]
            if any(
                may_meet(part.event, parts, two.parts)
                for parts, _ in found
                for other in others
                for two in other.some
            ):
                if self._refuses(self._policy.rules[behind]):
                    return None
                told = True
        action: Action = "log" if told else "allow"
        return [
            Entry(
                rule=rule_of(part.event, parts, action=action),
                number=number,
                exact=not told,
                container=name,
                exception=True,
            )
            for parts, name in found
        ]

    # What is said of a rule that can't be what it is written as.

    def _say_what_can_not_be(self, number: int, rule: PolicyRule, part: _Part) -> None:
        line, event = int(rule.info.source.rpartition(":")[2]), part.event
        if rule.verb in ("deny", "ask") and event in NEVER_REFUSED:
            self._problems.add(
                line, f"{event} can't be refused: the kernel asks nobody", "kill, suspend, log"
            )
            return
        if rule.verb == "ask" and event in NEVER_ASKED:
            self._problems.add(line, f"nobody can be asked about {event}: the kernel can't wait there")
            return
        if part.started:
            self._say_of_arguments(number, rule, line)
            if rule.verb in ("deny", "ask") or not self._refuses(rule):
                return
        if not self._must_ask(number, rule, part):
            return
        excepted = [f"unless {literal.test.field}" for one in part.some for literal in one.exceptions]
        why = ", ".join(dict.fromkeys(part.left or excepted))
        behind = self._refusing_behind(number, part)
        if event in NEVER_ASKED:
            if rule.verb != "kill" or behind is not None:
                hint = "compare with whole values, startswith, endswith, glob, cidr"
                said = f"{event} can't wait for the host, which would have to judge {why}"
                self._problems.add(line, said, hint)
        elif rule.fallback is None:
            said = (
                f"the host judges {why}, and {event} waits for it: what becomes of it when no answer comes?"
            )
            hint = "fallback: allow, or deny"
            if not self._refuses(rule) and behind is not None:
                hint += f"; or put it behind the rule of line {behind.info.source.rpartition(':')[2]}"
            self._problems.add(line, said, hint)

    def _say_of_arguments(self, number: int, rule: PolicyRule, line: int) -> None:
        """An exec is refused before its arguments are known."""
        if rule.verb in ("deny", "ask"):
            self._problems.add(
                line,
                "the arguments are known once the program has started, which can't be refused then",
                "do: kill ends it before its first instruction",
            )
            return
        if rule.verb == "kill":
            return
        for behind in range(number + 1, len(self._policy.rules)):
            later, parts = self._policy.rules[behind], self._parts[behind]
            before = any(other.event == EXEC and not other.started for other in parts)
            own = next(part for part in self._parts[number] if part.event == EXEC)
            if self._refuses(later) and before and self._meet(own, behind, wide=False):
                place = later.info.source.rpartition(":")[2]
                self._problems.add(
                    line,
                    f"the rule of line {place} decides before the arguments are known, which this one is about",
                    "put it behind that one",
                )
                return


def _part(rule: PolicyRule, event: str) -> _Part:
    started = event == EXEC and bool(fields_of(rule.condition) & ARGUMENTS)
    try:
        each = [narrowed(event, alternative) for alternative in alternatives(rule.condition)]
        some = [one for one in each if one is not None]
    except TooMany:
        some = [Narrowed({}, left=["a condition of so many parts"])]
    for one in some:
        # Once a program has started, the probe sees it where it saw the one before.
        old = {"exe", "unless_exe"} & one.parts.keys() if event == EXEC else set()
        if old and (started or rule.verb == "kill"):
            for name in old:
                del one.parts[name]
            one.left.append("process.previous.executable")
        if started:
            one.left.append("the arguments")
    left = [said for one in some for said in one.left]
    return _Part(event, some, list(dict.fromkeys(left)), started)


def _merge(parts: dict[str, Any], more: dict[str, Any]) -> dict[str, Any] | None:
    """Both; None where that is nothing. Of two that don't go together in one rule the second is kept: what it lets pass
    is never what the rule is about that it is an exception of.
    """
    ((name, value),) = more.items()
    own = next((key for key in PATHS if key in parts), None)
    if name not in PATHS or own is None:
        if name in SAME and parts.get(name, value) != value:
            return None
        beside = {f"unless_{name}"} | ({"key", "tree", "unless_tree"} if name in ("key", "tree") else set())
        return {**{key: kept for key, kept in parts.items() if key not in beside}, name: value}
    rest = {key: kept for key, kept in parts.items() if key not in PATHS}
    if name == "path":
        return {**rest, "path": value} if path_fits(parts, value) else None
    if own == "path":
        return parts if path_fits(more, parts["path"]) else None
    return {**rest, name: value}


def _merged(entries: list[Entry]) -> list[Entry]:
    """Those that differ in their events alone as one, exceptions first."""
    found: dict[Entry, list[str]] = {}
    for entry in sorted(entries, key=lambda entry: not entry.exception):
        key = msgspec.structs.replace(entry, rule=msgspec.structs.replace(entry.rule, events=()))
        found.setdefault(key, []).extend(entry.rule.events)
    return [
        msgspec.structs.replace(
            entry, rule=msgspec.structs.replace(entry.rule, events=tuple(dict.fromkeys(events)))
        )
        for entry, events in found.items()
    ]
