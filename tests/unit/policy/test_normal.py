from __future__ import annotations

import pytest
from hypothesis import given

from tests.unit.policy.test_rule import CONDITIONS, FIELDS
from vmon.policy import condition as c
from vmon.policy.normal import MOST, TooMany, alternatives


@given(CONDITIONS, FIELDS)
def test_the_alternatives_say_what_the_condition_says(
    condition: c.Condition, fields: dict[str, c.Word]
) -> None:
    try:
        each = alternatives(condition)
    except TooMany:
        return
    found = any(
        all(c.compiled(literal.test)(fields) == literal.holds for literal in one)
        for one in each  # type: ignore[arg-type]
    )
    assert found == c.compiled(condition)(fields)  # type: ignore[arg-type]


def test_too_many_are_too_many() -> None:
    many = c.AnyOf(tuple(c.Test("f", "equals", (number,)) for number in range(30)))
    with pytest.raises(TooMany):
        alternatives(c.AllOf((many, many)))
    with pytest.raises(TooMany):
        alternatives(c.Test("f", "equals", tuple(range(MOST + 1))))
