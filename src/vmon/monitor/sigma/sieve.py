"""Of hundreds of rules only those are judged one of whose words stands in an event: all words are looked for at once.

Pure, but for the door to RE2. What a rule needs is worked out from its condition, and is never more than what must be
there: a rule without such words is judged every time, or found by its program's name (vmon.policy.rule). A guest that
knows the words and writes all of them makes one look take some milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vmon.core.ecs import Value
from vmon.monitor.sigma.door import words_of
from vmon.policy.condition import AllOf, AnyOf, Condition, Fits, Test, compiled
from vmon.policy.rule import HostRule, Matcher

MIN_WORD = 3
"""Shorter words stand nearly everywhere."""
LITERAL = ("equals", "contains", "startswith", "endswith")
Needs = tuple[str, frozenset[str]]
"""A field, and words in lower case, one of which stands in it where the condition holds."""


class Sieve:
    """Rules in their order, ready to be asked about events; answers as vmon.policy.rule.Matcher does."""

    def __init__(self, rules: Sequence[HostRule]) -> None:
        """UsageError for a condition that can't be judged."""
        self._order = {id(rule): number for number, rule in enumerate(rules)}
        by_words: dict[tuple[str, str], list[tuple[HostRule, frozenset[str]]]] = {}
        others = []
        for rule in rules:
            needs = needed(rule.condition)
            if needs is None:
                others.append(rule)
                continue
            field, words = needs
            for event in rule.events:
                by_words.setdefault((event, field), []).append((rule, words))
        self._others = Matcher(others)
        self._tables: dict[str, list[tuple[str, _Words]]] = {}
        for (event, field), found in by_words.items():
            self._tables.setdefault(event, []).append((field, _Words(found)))

    @property
    def events(self) -> frozenset[str]:
        """Kinds of events that any rule is about."""
        return self._others.events | self._tables.keys()

    def fitting(self, event: str, fields: Mapping[str, Value]) -> list[HostRule]:
        """The rules that fit an event of this name with these fields, in the order that they were given in."""
        found = list(self._others.fitting(event, fields))
        for field, words in self._tables.get(event, ()):
            value = fields.get(field)
            if value is not None:
                text = "\n".join(value) if isinstance(value, list) else str(value)
                found += words.fitting(text, fields)
        if len(found) > 1:
            found.sort(key=lambda rule: self._order[id(rule)])
        return found


class _Words:
    """Rules that need words in the same field of the same kind of event."""

    def __init__(self, rules: Sequence[tuple[HostRule, frozenset[str]]]) -> None:
        judged: list[tuple[HostRule, Fits]] = [(rule, compiled(rule.condition)) for rule, _ in rules]
        of_word: dict[str, list[tuple[HostRule, Fits]]] = {}
        for one, (_, words) in zip(judged, rules, strict=True):
            for word in words:
                of_word.setdefault(word, []).append(one)
        self._of_word = list(of_word.values())
        self._look: Any = words_of(list(of_word))

    def fitting(self, text: str, fields: Mapping[str, Value]) -> Iterator[HostRule]:
        numbers = self._look(text.lower())
        if not numbers:
            return
        seen = set()
        for number in numbers:
            for rule, fits in self._of_word[number]:
                if id(rule) not in seen:
                    seen.add(id(rule))
                    if fits(fields):
                        yield rule


def needed(condition: Condition) -> Needs | None:
    """Words one of which must stand in a field for the condition to hold; None where it can hold without."""
    if isinstance(condition, Test):
        return _needed_by_test(condition)
    if isinstance(condition, AllOf):
        some = [found for part in condition.parts if (found := needed(part)) is not None]
        # The rarer, one would say: few words, and long ones.
        return min(some, key=lambda found: (len(found[1]), -min(map(len, found[1]))), default=None)
    if isinstance(condition, AnyOf) and condition.parts:
        each = [found for part in condition.parts if (found := needed(part)) is not None]
        if len(each) == len(condition.parts) and len({field for field, _ in each}) == 1:
            return each[0][0], frozenset().union(*(words for _, words in each))
    return None


def _needed_by_test(test: Test) -> Needs | None:
    if test.modifier not in LITERAL or not test.values:
        return None
    words = [str(value) for value in test.values]
    if test.cased and not all(word.isascii() for word in words):
        return None  # in other alphabets a part in lower case need not be a part of the whole in lower case
    words = [word.lower() for word in words]
    if test.all:
        words = [max(words, key=len)]
    return (test.field, frozenset(words)) if min(map(len, words)) >= MIN_WORD else None
