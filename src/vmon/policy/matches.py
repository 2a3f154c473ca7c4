"""Fields with modifiers, as a policy writes them, become conditions: `file.path|startswith: [/etc/, /usr/]`.

Pure. What a field can't be, or an event of the rule never has, is told with its line.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Any, cast, get_args

import yaml

from vmon.core.errors import UsageError
from vmon.policy.condition import ALWAYS, AllOf, AnyOf, Condition, Modifier, Not, Test, Word, compiled
from vmon.policy.fields import FIELDS, WHO
from vmon.policy.lines import Mapping, Problems, items, mapping, nearest, scalar

MODIFIERS = tuple(word for word in get_args(Modifier) if word not in ("equals", "wildcard"))
NUMBERS = ("gt", "gte", "lt", "lte")
TEXTS = ("contains", "startswith", "endswith", "glob", "re")
KEY = re.compile(r"^[0-9]+@[0-9]+$")
COMM_BYTES = 15


class Matches:
    """Reads conditions of one file."""

    names = tuple(FIELDS)

    def __init__(self, problems: Problems) -> None:
        self._problems = problems

    def scope(self, found: Mapping) -> tuple[Condition, ...]:
        """What a file's scope says of the processes that all rules are about."""
        tests = []
        for key in found.entries:
            if key == "vm":
                continue
            name = key.partition("|")[0]
            if name in FIELDS and name not in WHO:
                self._problems.add(
                    found.line_of(key),
                    f"a scope is about who acts: {name} is not",
                    "vm, container.id, user.id, vmon.tree.entity_id, process.executable...",
                )
            elif test := self._test(found, key, ()):
                tests.append(test)
        return tuple(tests)

    def of_rule(
        self, found: Mapping, events: tuple[str, ...], scope: tuple[Condition, ...]
    ) -> Condition | None:
        """All that a rule asks for; None where a problem was told."""
        before = len(self._problems.told)
        parts = [*scope, *self._tests(found, events)]
        if "any" in found.entries:
            parts.append(AnyOf(self._each(found, "any", events)))
        if "unless" in found.entries:
            parts += [Not(part) for part in self._each(found, "unless", events)]
        if len(self._problems.told) > before:
            return None
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts)) if parts else ALWAYS

    def _tests(self, found: Mapping, events: tuple[str, ...]) -> list[Condition]:
        tests = (self._test(found, key, events) for key in found.entries if "." in key)
        return [test for test in tests if test is not None]

    def _each(self, found: Mapping, name: str, events: tuple[str, ...]) -> tuple[Condition, ...]:
        """The mappings of `any` or `unless`."""
        parts: list[Condition] = []
        for node in items(found.entries[name]):
            inner = mapping(node, self._problems, f"{name}:")
            if inner is None:
                continue
            for key in inner.entries:
                if "." not in key:
                    hint = nearest(key, self.names) or "a field of the event, as file.path"
                    self._problems.add(inner.line_of(key), f"unknown field {key!r} in {name}", hint)
            tests = self._tests(inner, events)
            parts.append(tests[0] if len(tests) == 1 else AllOf(tuple(tests)))
        if not parts:
            self._problems.add(found.line_of(name), f"{name}: is fields with values, or a list of those")
        return tuple(parts)

    def _test(self, found: Mapping, key: str, events: tuple[str, ...]) -> Condition | None:
        name, *words = key.split("|")
        line = found.line_of(key)
        field = FIELDS.get(name)
        if field is None:
            self._problems.add(line, f"there is no field {name!r}", nearest(name, self.names))
            return None
        if events and not set(events) & set(field.events):
            few = ", ".join(field.events[:4]) + ("..." if len(field.events) > 4 else "")
            self._problems.add(line, f"{', '.join(events)} has no {name}", f"it is of {few}")
            return None
        modifier = self._modifier(words, line)
        values = self._values(found.entries[key], name, modifier, line) if modifier else None
        if modifier is None or values is None:
            return None
        if field.kind == "flag":
            test = Test(name, "equals", (1,))
            return test if values[0] else Not(test)
        test = Test(name, modifier, values, all="all" in words)
        if field.kind == "address" and modifier == "equals":
            # Spelling does not matter.
            test = Test(name, "cidr", values)
        try:
            compiled(test)
        except UsageError as error:
            self._problems.add(line, f"{key}: {error.message}", error.hint)
            return None
        return Test(name, "cidr", _with_mapped(values)) if test.modifier == "cidr" else test

    def _modifier(self, words: list[str], line: int) -> Modifier | None:
        rest = [word for word in words if word != "all"]
        for word in rest:
            if word not in MODIFIERS:
                hint = nearest(word, (*MODIFIERS, "all")) or f"there are {', '.join((*MODIFIERS, 'all'))}"
                self._problems.add(line, f"unknown modifier {word!r}", hint)
                return None
        if len(rest) > 1:
            self._problems.add(line, f"a field has one of {' and '.join(rest)}")
            return None
        return cast("Modifier", rest[0]) if rest else "equals"

    def _values(self, node: yaml.Node, name: str, modifier: Modifier, line: int) -> tuple[Word, ...] | None:
        values = [scalar(item) for item in items(node)]
        said = _wrong(name, modifier, values)
        if said:
            self._problems.add(line, f"{name}: {said[0]}", said[1])
            return None
        return tuple(int(value) if isinstance(value, bool) else value for value in values)


def _with_mapped(networks: tuple[Word, ...]) -> tuple[Word, ...]:
    """With each network of IPv4 the same as a socket of IPv6 connects to it."""
    found: list[Word] = []
    for word in networks:
        network = ipaddress.ip_network(str(word), strict=False)
        found.append(str(network))
        if network.version == 4:
            found.append(f"::ffff:{network.network_address}/{96 + network.prefixlen}")
    return tuple(found)


def _wrong(name: str, modifier: Modifier, values: list[Any]) -> tuple[str, str] | None:
    """What is wrong with the values of a field, and a hint."""
    if not values or any(value is None for value in values):
        return "a value, or a list of values", "is something indented too far, or quoted too little?"
    kind = FIELDS[name].kind
    if kind == "flag" or modifier == "exists":
        if modifier not in ("equals", "exists") or len(values) > 1 or not isinstance(values[0], bool):
            return "true or false", ""
        return None
    for value in values:
        if isinstance(value, bool) or not isinstance(value, str | int):
            return f"{value!r} is neither a text nor a whole number", "put it in quotes"
        if wrong := next(_wrongs(name, kind, modifier, value), None):
            return wrong
    return None


def _wrongs(name: str, kind: str, modifier: Modifier, value: Word) -> Iterator[tuple[str, str]]:
    """What is wrong with one value."""
    text = str(value)
    equals = modifier == "equals"
    if not text:
        yield "an empty text", ""
    if kind == "number" and (equals or modifier in NUMBERS) and not text.lstrip("-").isdecimal():
        yield f"{text!r} is no number", ""
    if kind != "number" and modifier in NUMBERS:
        yield f"{modifier} is for numbers", ""
    if kind != "address" and modifier == "cidr":
        yield "cidr is for addresses", "destination.ip, source.ip"
    if kind == "address" and equals and not _is_address(text):
        yield f"{text!r} is no address", "a network is written with |cidr" if "/" in text else ""
    if kind == "key" and (not equals or not KEY.match(text)):
        yield f"{text!r} is no process", "it is pid@start, as `vmon ps -o json` gives it"
    if kind == "path" and equals and "*" in text:
        yield f"{text!r} is a whole path with a star in it", f"a pattern is written {name}|glob"
    if name == "process.name" and equals and len(text.encode("utf-8", "surrogateescape")) > COMM_BYTES:
        yield f"{text!r} is too long: the kernel keeps {COMM_BYTES} bytes", f"{name}|startswith, or file.name"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
