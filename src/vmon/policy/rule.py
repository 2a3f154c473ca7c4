"""A rule that the host judges: events, a condition on their fields, and what is done when it holds.

Pure. A thousand rules cost little an event: they are found by the kind of event, and by the last name of the program or
of the file where their condition can hold for no other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vmon.core.detection import RuleInfo, Verb
from vmon.core.ecs import Value
from vmon.policy.condition import ALWAYS, AllOf, AnyOf, Condition, Fits, Test, compiled

ANCHORS = ("process.executable", "file.path")
"""Fields whose last name rules are found by."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Of one rule no more than `count` are told in `seconds`; the others are counted."""

    count: int
    seconds: float


@dataclass(frozen=True, slots=True)
class HostRule:
    """One rule."""

    info: RuleInfo
    events: frozenset[str]
    """process.exec, file.open..."""
    condition: Condition = ALWAYS
    verb: Verb = "log"
    observe: bool = False
    """Only tell what it would do."""
    rate: Rate | None = None


Found = tuple[int, HostRule, Fits]


class Matcher:
    """Rules in their order, ready to be asked about events. UsageError for a condition that can't be judged."""

    def __init__(self, rules: Sequence[HostRule]) -> None:
        self.rules = tuple(rules)
        self._tables: dict[str, _Table] = {}
        for number, rule in enumerate(self.rules):
            found = (number, rule, compiled(rule.condition))
            names = anchor(rule.condition)
            for event in rule.events:
                self._tables.setdefault(event, _Table()).add(found, names)

    @property
    def events(self) -> frozenset[str]:
        """Kinds of events that any rule is about."""
        return frozenset(self._tables)

    def fitting(self, event: str, fields: Mapping[str, Value]) -> Iterator[HostRule]:
        """The rules that fit an event of this name with these fields, in the order that they were given in."""
        for _, rule in self.numbered(event, fields):
            yield rule

    def numbered(self, event: str, fields: Mapping[str, Value]) -> Iterator[tuple[int, HostRule]]:
        """The same, with the place of each among `rules`."""
        table = self._tables.get(event)
        if table is None:
            return
        for number, rule, fits in table.candidates(fields):
            if fits(fields):
                yield number, rule


class _Table:
    """Rules of one kind of event."""

    def __init__(self) -> None:
        self._always: list[Found] = []
        self._by_name: dict[str, dict[str, list[Found]]] = {field: {} for field in ANCHORS}

    def add(self, found: Found, names: tuple[str, frozenset[str]] | None) -> None:
        """Rules come in order, so each list is in order."""
        if names is None:
            self._always.append(found)
            return
        field, words = names
        for word in words:
            self._by_name[field].setdefault(word, []).append(found)

    def candidates(self, fields: Mapping[str, Value]) -> Sequence[Found]:
        """Rules that may fit, in order."""
        some = self._always
        for field, named in self._by_name.items():
            value = fields.get(field) if named else None
            for word in {_last_name(path) for path in _texts(value)}:
                if more := named.get(word):
                    some = [*some, *more]
        if some is self._always:
            return some
        # One rule may be found by several names, of a file that gets another.
        return sorted({found[0]: found for found in some}.values(), key=_number)


def _number(found: Found) -> int:
    return found[0]


def _texts(value: Value | None) -> Sequence[str]:
    if isinstance(value, list):
        return value
    return (value,) if isinstance(value, str) else ()


def _last_name(path: str) -> str:
    return path.rpartition("/")[2].lower()


def anchor(condition: Condition) -> tuple[str, frozenset[str]] | None:
    """A field of ANCHORS, and the last names, in lower case, one of which it must have for the condition to hold; None
    where it can hold for any.
    """
    if isinstance(condition, Test):
        return _anchor_of_test(condition)
    if isinstance(condition, AllOf):
        some = [found for part in condition.parts if (found := anchor(part)) is not None]
        return min(some, key=lambda found: len(found[1]), default=None)
    if isinstance(condition, AnyOf) and condition.parts:
        each = [anchor(part) for part in condition.parts]
        all_of_them = [found for found in each if found is not None]
        if len(all_of_them) == len(each) and len({field for field, _ in all_of_them}) == 1:
            return all_of_them[0][0], frozenset().union(*(words for _, words in all_of_them))
    return None


def _anchor_of_test(test: Test) -> tuple[str, frozenset[str]] | None:
    if test.field not in ANCHORS:
        return None
    values = [str(value) for value in test.values]
    if test.modifier == "wildcard":
        # What is behind the last slash must be there as it is.
        whole = all("/" in value and not set(_last_name(value)) & set("*?\\") for value in values)
    elif test.modifier == "glob":
        whole = all("/" in value and "*" not in _last_name(value) for value in values)
    else:
        whole = test.modifier == "equals" or (
            test.modifier == "endswith" and all("/" in value for value in values)
        )
    return (test.field, frozenset(map(_last_name, values))) if whole and values else None
