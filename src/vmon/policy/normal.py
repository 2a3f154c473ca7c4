"""A condition as alternatives, each a list of tests that must hold or must not: what a table of simple rules can judge.

Pure. The number of alternatives is bounded: a condition that has more is judged on the host.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import msgspec

from vmon.policy.condition import AllOf, Condition, Holds, Not, Test

MOST = 512
SINGLE = ("equals", "startswith", "endswith", "glob", "cidr")
"""Modifiers whose values a table can judge one by one."""


class Literal(msgspec.Struct, frozen=True):
    """One test."""

    test: Test
    holds: bool
    """False: it must not fit."""


Alternative = tuple[Literal, ...]


class TooMany(Exception):
    """More alternatives than MOST."""


def alternatives(condition: Condition) -> list[Alternative]:
    """The condition holds where one of these does: where all of its literals do. TooMany."""
    return _of(condition, holds=True)


def _of(condition: Condition, *, holds: bool) -> list[Alternative]:
    if isinstance(condition, Not):
        return _of(condition.part, holds=not holds)
    if isinstance(condition, Test):
        return _of_test(condition, holds=holds)
    if isinstance(condition, Holds):
        raise TooMany  # a function of the host's is in no table of the probe
    each = [_of(part, holds=holds) for part in condition.parts]
    if isinstance(condition, AllOf) == holds:
        return _all(each)
    return _bounded(found for part in each for found in part)


def _of_test(test: Test, *, holds: bool) -> list[Alternative]:
    """One for each value, where any of them is enough."""
    if len(test.values) <= 1 or test.modifier not in SINGLE:
        return [(Literal(test, holds),)]
    single = [
        Literal(Test(test.field, test.modifier, (value,), cased=test.cased), holds) for value in test.values
    ]
    if test.all == holds:
        return [tuple(single)]
    return _bounded((literal,) for literal in single)


def _all(each: list[list[Alternative]]) -> list[Alternative]:
    size = 1
    for part in each:
        size *= len(part)
        if size > MOST:
            raise TooMany
    return [tuple(dict.fromkeys(literal for some in choice for literal in some)) for choice in product(*each)]


def _bounded(found: Iterable[Alternative]) -> list[Alternative]:
    kept = []
    for one in found:
        kept.append(one)
        if len(kept) > MOST:
            raise TooMany
    return kept
