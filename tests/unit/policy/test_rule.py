from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmon.core.detection import RuleInfo
from vmon.policy import condition as c
from vmon.policy.condition import ALWAYS, AllOf, AnyOf, Condition, Not, compiled
from vmon.policy.rule import HostRule, Matcher, anchor

EXEC = frozenset({"process.exec"})


def rule(title: str, condition: Condition = ALWAYS, events: frozenset[str] = EXEC) -> HostRule:
    return HostRule(RuleInfo(title=title), events, condition)


def program(*paths: str, modifier: Any = "endswith") -> c.Test:
    return c.Test("process.executable", modifier, paths, cased=False)


def test_rules_are_found_in_their_order() -> None:
    matcher = Matcher(
        [
            rule("second name", program("/nc", "/ncat")),
            rule("any"),
            rule("of a file", c.Test("file.path", "equals", ("/x/NC",), cased=False)),
            rule("first name", program("/nc")),
            rule("another event", events=frozenset({"file.open"})),
        ]
    )
    found = matcher.fitting("process.exec", {"process.executable": "/usr/bin/NC", "file.path": "/X/nc"})
    assert [found.info.title for found in found] == ["second name", "any", "of a file", "first name"]
    assert [found.info.title for found in matcher.fitting("process.exec", {})] == ["any"]
    assert not list(matcher.fitting("net.connect", {}))
    assert matcher.events == {"process.exec", "file.open"}


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        (program("/nc"), {"nc"}),
        (program("nc"), None),
        (program("/usr/bin/NC", modifier="equals"), {"nc"}),
        (program("*/nc", modifier="wildcard"), {"nc"}),
        (program("*/n*", modifier="wildcard"), None),
        (program("/home/*/x", modifier="glob"), {"x"}),
        (program("/nc", modifier="contains"), None),
        (c.Test("process.name", "equals", ("nc",)), None),
        (AllOf((program("/a", "/b"), program("/c"))), {"c"}),
        (AnyOf((program("/a"), program("/b"))), {"a", "b"}),
        (AnyOf((program("/a"), c.Test("file.path", "equals", ("/b",)))), None),
        (AnyOf(()), None),
        (Not(program("/a")), None),
    ],
)
def test_what_a_rule_is_found_by(condition: Condition, names: set[str] | None) -> None:
    found = anchor(condition)
    assert (None if found is None else set(found[1])) == names


PATHS = st.sampled_from(["/a", "/b/a", "/b/A", "a", "/", "", "/b"])
TESTS = st.builds(
    c.Test,
    st.sampled_from(["process.executable", "file.path", "process.name"]),
    st.sampled_from(["equals", "endswith", "startswith", "wildcard", "glob", "contains"]),
    st.lists(st.one_of(PATHS, st.sampled_from(["*/a", "/*", "/b/?", "\\*/a"])), min_size=1, max_size=2).map(
        tuple
    ),
    all=st.booleans(),
    cased=st.booleans(),
)
CONDITIONS = st.recursive(
    TESTS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple).map(AllOf),
        st.lists(inner, max_size=3).map(tuple).map(AnyOf),
        inner.map(Not),
    ),
    max_leaves=6,
)
FIELDS = st.dictionaries(
    st.sampled_from(["process.executable", "file.path", "process.name"]),
    st.one_of(PATHS, st.lists(PATHS, max_size=2)),
)


@given(st.lists(CONDITIONS, max_size=5), FIELDS)
def test_the_index_leaves_out_no_rule_that_fits(conditions: list[Condition], fields: dict[str, Any]) -> None:
    rules = [rule(str(number), condition) for number, condition in enumerate(conditions)]
    found = [found.info.title for found in Matcher(rules).fitting("process.exec", fields)]
    assert found == [rule.info.title for rule in rules if compiled(rule.condition)(fields)]
