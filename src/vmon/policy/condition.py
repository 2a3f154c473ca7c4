"""A condition on an event's fields is a tree of tests, compiled once into closures that are called for every event.

Pure. Fields are those of vmon.core.ecs, flat. Values come from a hostile guest: whatever they are, a test answers yes
or no. A regular expression is its author's: one that takes long on a long text takes long here, so texts are cut.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from vmon.core.ecs import Value
from vmon.core.errors import UsageError

Modifier = Literal[
    "equals",
    "contains",
    "startswith",
    "endswith",
    "glob",
    "wildcard",
    "re",
    "cidr",
    "gt",
    "gte",
    "lt",
    "lte",
    "exists",
]
"""Sigma's words. glob: * is anything but a slash, ** anything; wildcard, as in Sigma's values: * is anything, ? one
character, a backslash makes either (and a backslash) what it is."""
Word = str | int
Fits = Callable[[Mapping[str, Value]], bool]

FEW = 32
MAX_SEARCHED = 8192
"""Of a text a regular expression sees no more than so many characters."""


@dataclass(frozen=True, slots=True)
class Test:
    """One field against values. Fits if any value does, with `all` if each of them does.

    A field that is a list fits a value if one of its elements does. A field that the event has not fits nothing, but
    `exists` with the value 0.
    """

    field: str
    modifier: Modifier
    values: tuple[Word, ...]
    """exists has one: 1 or 0. Numbers and their texts are the same: user.id is a text in ECS."""
    all: bool = False
    cased: bool = True
    """Whether upper and lower case differ; Sigma's texts don't, its expressions do."""


@dataclass(frozen=True, slots=True)
class AllOf:
    """Each part fits; so does none at all."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One part fits at least."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not fit: also where the event has not the field."""

    part: Condition


@dataclass(frozen=True, slots=True)
class Holds:
    """One field, and a function of the host's that says whether a value fits: what no modifier can say. A list fits if
    one of its elements does; a field that the event has not does not fit."""

    field: str
    holds: Callable[[Word], bool]


Condition = Test | AllOf | AnyOf | Not | Holds
ALWAYS = AllOf(())


def compiled(condition: Condition) -> Fits:
    """The condition as a function of an event's fields. UsageError for a value that its modifier can't have."""
    if isinstance(condition, Test):
        return _test(condition)
    if isinstance(condition, Holds):
        return _of_field(condition.field, condition.holds)
    if isinstance(condition, Not):
        inner = compiled(condition.part)
        return lambda fields: not inner(fields)
    parts = tuple(compiled(part) for part in condition.parts)
    if len(parts) == 1:
        return parts[0]
    return _all_of(parts) if isinstance(condition, AllOf) else _any_of(parts)


def _all_of(parts: Sequence[Fits]) -> Fits:
    def fits(fields: Mapping[str, Value]) -> bool:
        for part in parts:  # noqa: SIM110 - a loop costs half of what all() does
            if not part(fields):
                return False
        return True

    return fits


def _any_of(parts: Sequence[Fits]) -> Fits:
    def fits(fields: Mapping[str, Value]) -> bool:
        for part in parts:  # noqa: SIM110
            if part(fields):
                return True
        return False

    return fits


def _test(test: Test) -> Fits:
    field = test.field
    if test.modifier == "exists":
        wanted = bool(test.values[0])
        return lambda fields: (field in fields) is wanted
    if not test.values:
        raise UsageError(f"{field}: no value to compare with")
    if not test.all or len(test.values) == 1:
        return _of_field(field, _one_of(test.modifier, test.values, test.cased))
    each = [_of_field(field, _one_of(test.modifier, (value,), test.cased)) for value in test.values]
    return _all_of(each)


def _of_field(field: str, holds: Callable[[Word], bool]) -> Fits:
    def fits(fields: Mapping[str, Value]) -> bool:
        value = fields.get(field)
        if value is None:
            return False
        if isinstance(value, list):
            return any(holds(item) for item in value)
        return holds(value)

    return fits


def _one_of(modifier: Modifier, values: tuple[Word, ...], cased: bool) -> Callable[[Word], bool]:
    """Whether a value of the guest fits one of those of the test."""
    if modifier in ("gt", "gte", "lt", "lte"):
        return _compared(modifier, [_number(value) for value in values])
    if modifier == "cidr":
        return _in_networks(values)
    texts = [str(value) for value in values]
    if modifier in ("re", "glob", "wildcard"):
        patterns = [expression(modifier, text) for text in texts]
        search = _joined(patterns, 0 if cased else re.IGNORECASE).search
        return lambda value: search(str(value)[:MAX_SEARCHED]) is not None
    return _plain(modifier, texts, cased)


def _plain(modifier: Modifier, texts: list[str], cased: bool) -> Callable[[Word], bool]:
    text = str if cased else _lowered
    if not cased:
        texts = [word.lower() for word in texts]
    if modifier == "equals":
        words = frozenset(texts)
        return lambda value: text(value) in words
    if modifier == "contains":
        return _containing(texts, text)
    ends = tuple(texts)
    if modifier == "startswith":
        return lambda value: text(value).startswith(ends)
    return lambda value: text(value).endswith(ends)


def _containing(texts: Sequence[str], text: Callable[[Word], str]) -> Callable[[Word], bool]:
    if len(texts) == 1:
        only = texts[0]
        return lambda value: only in text(value)
    if len(texts) > FEW:
        # One pass of an expression beats a search for each of many words.
        search = re.compile("|".join(map(re.escape, texts))).search
        return lambda value: search(text(value)) is not None

    def holds(value: Word) -> bool:
        whole = text(value)
        for word in texts:  # noqa: SIM110
            if word in whole:
                return True
        return False

    return holds


def _lowered(value: Word) -> str:
    return str(value).lower()


def expression(modifier: Modifier, text: str) -> str:
    """A pattern as a regular expression: a glob and a wildcard are about the whole value."""
    if modifier == "re":
        return text
    if modifier == "glob":
        parts = re.split(r"(\*\*|\*)", text)
        body = "".join({"**": ".*", "*": "[^/]*"}.get(part) or re.escape(part) for part in parts)
    else:
        body = _between_stars(re.findall(r"\\[\\*?]|[*?]|[^\\*?]+|\\", text))
    return rf"\A(?s:{body})\Z"


def _between_stars(parts: Sequence[str]) -> str:
    """What stands between two stars is taken where it is found first, and nowhere else is tried: no text of a guest can
    make it slow."""
    pieces = [""]
    for part in parts:
        if part == "*":
            pieces.append("")
        else:
            plain = part[1:] if len(part) == 2 and part[0] == "\\" else part
            pieces[-1] += "." if part == "?" else re.escape(plain)
    first, *rest = pieces
    if not rest:
        return first
    *middle, last = rest
    return first + "".join(f"(?>.*?{piece})" for piece in middle if piece) + ".*" + last


def _joined(patterns: Sequence[str], flags: int) -> re.Pattern[str]:
    for pattern in patterns:
        try:
            re.compile(pattern, flags)
        except (re.error, RecursionError, OverflowError) as error:
            raise UsageError(
                f"{pattern!r} is no regular expression: {error}", hint="they are those of Python's re"
            ) from error
    if len(patterns) == 1:
        return re.compile(patterns[0], flags)
    # Flags within an expression may stand at its beginning only; a group of its own keeps them there.
    return _Any([re.compile(pattern, flags) for pattern in patterns])  # type: ignore[return-value]


class _Any:
    """Several expressions, searched in turn."""

    def __init__(self, patterns: Iterable[re.Pattern[str]]) -> None:
        self._searches = [pattern.search for pattern in patterns]

    def search(self, text: str) -> re.Match[str] | None:
        """What the first of them finds."""
        return next((found for search in self._searches if (found := search(text)) is not None), None)


def _compared(modifier: Modifier, limits: Sequence[int]) -> Callable[[Word], bool]:
    # Of several limits any is enough, so one of them decides.
    above = modifier in ("gt", "gte")
    limit = min(limits) if above else max(limits)
    if modifier in ("gte", "lte"):
        limit += -1 if above else 1

    def holds(value: Word) -> bool:
        try:
            number = int(value)
        except ValueError:
            return False
        return number > limit if above else number < limit

    return holds


def _number(value: Word) -> int:
    try:
        return int(value)
    except ValueError as error:
        raise UsageError(f"{value!r} is no number") from error


def _in_networks(values: Sequence[Word]) -> Callable[[Word], bool]:
    try:
        networks = [ipaddress.ip_network(str(value), strict=False) for value in values]
    except ValueError as error:
        raise UsageError(f"{error}", hint="a network is 10.0.0.0/8 or fd00::/8") from error

    def holds(value: Word) -> bool:
        try:
            address = ipaddress.ip_address(str(value))
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any(address in network or (mapped is not None and mapped in network) for network in networks)

    return holds


def fields_of(condition: Condition) -> frozenset[str]:
    """Every field that it asks about."""
    if isinstance(condition, Test | Holds):
        return frozenset((condition.field,))
    if isinstance(condition, Not):
        return fields_of(condition.part)
    return frozenset().union(*(fields_of(part) for part in condition.parts))
