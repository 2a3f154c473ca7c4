"""A rule's condition as pySigma understood it becomes a condition on ECS fields, for each kind of event it is about.

Pure. What can't be judged here is said as Unsupported and never left out of a condition: half a rule says something
else. Texts are compared without regard to case, as the specification has it, expressions with regard to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from vmon.monitor.sigma.door import pysigma, search_of
from vmon.monitor.sigma.taxonomy import NETWORK_TYPES, Source, Unsupported, ecs_name
from vmon.policy.condition import ALWAYS, AllOf, AnyOf, Condition, Holds, Modifier, Not, Test, Word

COMPARED: dict[str, Modifier] = {"LT": "lt", "LTE": "lte", "GT": "gt", "GTE": "gte"}
SAME_FIELD_JOINS = ("equals", "contains", "startswith", "endswith", "wildcard", "cidr")


def condition_of(tree: Any, source: Source) -> Condition:
    """The condition of a tree of pySigma's on the events of a source. Unsupported for what can't be judged."""
    return _Translator(source).node(tree)


class _Translator:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._sigma = pysigma()

    def node(self, tree: Any) -> Condition:
        conditions = self._sigma.conditions
        if tree is None:
            raise Unsupported("its condition is empty")
        if isinstance(tree, conditions.ConditionFieldEqualsValueExpression):
            return self._value(tree.field, tree.value)
        if isinstance(tree, conditions.ConditionValueExpression):
            raise Unsupported(
                "values without a field are looked for in the text of a log, and an event has none"
            )
        parts = [self.node(part) for part in tree.args]
        if isinstance(tree, conditions.ConditionNOT):
            return Not(parts[0])
        if isinstance(tree, conditions.ConditionOR):
            return joined(parts)
        return AllOf(tuple(parts))

    def _value(self, field: str, value: Any) -> Condition:
        types = self._sigma.types
        if isinstance(value, types.SigmaExpansion):
            return joined([self._value(field, one) for one in value.values])
        if field == "Initiated":
            return _initiated(value)
        if field == "DestinationIsIpv6":
            return Test("network.type", "equals", (NETWORK_TYPES.get(_plain(value), ""),))
        name = ecs_name(field, self._source)
        for kind, translate in self._kinds():
            if isinstance(value, kind):
                return translate(name, value)
        raise Unsupported(f"field {field}: values of the kind {type(value).__name__} are not known here")

    def _kinds(self) -> Iterable[tuple[type, Callable[[str, Any], Condition]]]:
        # A time's part is a number, a cased text a text.
        types = self._sigma.types
        return (
            (types.SigmaString, self._text),
            (types.SigmaTimestampPart, _part_of_time),
            (types.SigmaNumber, _number),
            (types.SigmaBool, lambda name, value: Test(name, "equals", (_plain(value),), cased=False)),
            (types.SigmaRegularExpression, _expression),
            (types.SigmaCIDRExpression, lambda name, value: Test(name, "cidr", (str(value.network),))),
            (types.SigmaCompareExpression, _comparison),
            (types.SigmaNull, lambda name, value: Test(name, "exists", (0,))),
            (types.SigmaExists, lambda name, value: Test(name, "exists", (int(value.exists),))),
            (types.SigmaFieldReference, _reference),
        )

    def _text(self, name: str, value: Any) -> Condition:
        types = self._sigma.types
        cased = isinstance(value, types.SigmaCasedString)
        for part in value.s:
            if isinstance(part, types.Placeholder):
                raise Unsupported(f"%{part.name}% stands for values that nobody gives here")
        star = types.SpecialChars.WILDCARD_MULTI
        parts = [
            part for at, part in enumerate(value.s) if at == 0 or part != star or value.s[at - 1] != star
        ]
        if parts == [star]:
            return Test(name, "exists", (1,))
        inner = parts[1:] if parts[:1] == [star] else parts
        inner = inner[:-1] if inner[-1:] == [star] else inner
        if all(isinstance(part, str) for part in inner):
            before, after = parts[:1] == [star], parts[-1:] == [star]
            modifier = _by_stars(before, after)
            return Test(name, modifier, ("".join(inner),), cased=cased)
        words = {star: "*", types.SpecialChars.WILDCARD_SINGLE: "?"}
        text = "".join(words[part] if part in words else _escaped(part) for part in parts)
        return Test(name, "wildcard", (text,), cased=cased)


def _by_stars(before: bool, after: bool) -> Modifier:
    if before:
        return "contains" if after else "endswith"
    return "startswith" if after else "equals"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("*", "\\*").replace("?", "\\?")


def _plain(value: Any) -> str:
    return str(value).lower()


def _initiated(value: Any) -> Condition:
    """Connections are seen as they are asked for: all of them are initiated."""
    if _plain(value) != "true":
        raise Unsupported("field Initiated: connections that come in are not seen with who they come from")
    return ALWAYS


def _part_of_time(name: str, value: Any) -> Condition:
    raise Unsupported("parts of an event's time are not compared here")


def _reference(name: str, value: Any) -> Condition:
    raise Unsupported(f"comparing with another field ({value.field}) is not known here")


def _number(name: str, value: Any) -> Condition:
    return Test(name, "equals", (str(value.number),))


def _comparison(name: str, value: Any) -> Condition:
    number = value.number.number
    if value.op.name == "NEQ":
        return AllOf((Test(name, "exists", (1,)), Not(Test(name, "equals", (str(number),)))))
    if not isinstance(number, int):
        raise Unsupported(f"fields are whole numbers, and it compares with {number}")
    return Test(name, COMPARED[value.op.name], (number,))


def _expression(name: str, value: Any) -> Condition:
    text = value.regexp.to_plain_regex()
    if value.regexp.contains_placeholder():
        raise Unsupported("placeholders in an expression stand for values that nobody gives here")
    flags = "".join(
        sorted({"IGNORECASE": "i", "MULTILINE": "m", "DOTALL": "s"}[flag.name] for flag in value.flags)
    )
    try:
        return Holds(name, search_of(text, flags))
    except ValueError as error:
        raise Unsupported(f"the expression {text!r} is none: {error}") from error


def joined(parts: Sequence[Condition]) -> Condition:
    """Any of the parts; tests that differ in their values alone become one."""
    found: dict[tuple[str, str, bool], list[Word]] = {}
    others: list[Condition] = []
    for part in parts:
        if (
            isinstance(part, Test)
            and part.modifier in SAME_FIELD_JOINS
            and (len(part.values) == 1 or not part.all)
        ):
            found.setdefault((part.field, part.modifier, part.cased), []).extend(part.values)
        else:
            others.append(part)
    tests: list[Condition] = [
        Test(field, modifier, tuple(dict.fromkeys(values)), cased=cased)  # type: ignore[arg-type]
        for (field, modifier, cased), values in found.items()
    ]
    whole = [*tests, *others]
    return whole[0] if len(whole) == 1 else AnyOf(tuple(whole))
