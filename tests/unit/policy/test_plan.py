from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import steady
from vmon.core.detection import RuleInfo
from vmon.core.errors import PolicyError
from vmon.core.rules import WRITING, Rule
from vmon.policy import condition as c
from vmon.policy.condition import expression
from vmon.policy.file import Policy, PolicyRule, read_policy
from vmon.policy.plan import Plan, plan_of
from vmon.policy.rule import Matcher


def rules_of(text: str, mode: Any = "enforce") -> list[tuple[int, bool, str, dict[str, Any]]]:
    plan = plan_of(read_policy("rules:\n" + text, "p"), mode)
    return [
        (
            entry.number,
            entry.exact,
            entry.rule.action,
            {
                name: getattr(entry.rule, name)
                for name in entry.rule.__struct_fields__
                if name not in ("action", "errno", "observe", "timeout_ms", "fallback")
                and getattr(entry.rule, name) is not None
            },
        )
        for entry in plan.entries
    ]


def test_what_the_probe_can_judge_it_judges() -> None:
    rules = """
  - event: [file.open, file.unlink]
    file.path: [/a, /b]
    unless: {process.executable: /bin/x}
    do: deny
  - {event: file.open, file.path|glob: /c/**, vmon.write: true, user.id: 33, do: kill}
  - {event: file.open, file.name: key, process.name: cat, do: log}
  - {event: net.connect, destination.ip|cidr: 10.0.0.0/8, destination.port: 22, do: allow}
  - {event: file.open, container.id: abc, vmon.tree.entity_id: 5@6, file.directory: /d, do: ask, fallback: deny}
  - {event: process.exec, process.executable|endswith: /nc, do: suspend}
"""
    both, opened = ("file.open", "file.unlink"), ("file.open",)
    far = {"events": ("net.connect",), "port": 22}
    assert rules_of(rules) == [
        (0, True, "deny", {"events": both, "path": "/a", "unless_exe": "/bin/x"}),
        (0, True, "deny", {"events": both, "path": "/b", "unless_exe": "/bin/x"}),
        (1, True, "kill", {"events": opened, "path_glob": "/c/**", "flags": WRITING, "uid": 33}),
        (2, True, "log", {"events": opened, "path_suffix": "/key", "name": "cat"}),
        (3, True, "allow", {**far, "address": "10.0.0.0/8"}),
        (3, True, "allow", {**far, "address": "::ffff:10.0.0.0/104"}),
        (4, True, "ask", {"events": opened, "path_glob": "/d/*", "tree": "5@6"}),
        (5, True, "log", {"events": ("process.exec",), "path_suffix": "/nc"}),
    ]


def test_the_rest_is_the_hosts() -> None:
    rules = """
  - {event: file.open, file.path|re: x, process.name: cat, do: deny, fallback: allow}
  - {event: process.exec, process.command_line|contains: x, do: log}
  - {event: process.signal, process.parent.name: x, do: kill}
  - {event: file.create, file.path|glob: /a/*/*, do: log}
"""
    assert rules_of(rules) == [
        (0, False, "ask", {"events": ("file.open",), "name": "cat"}),
        (2, False, "log", {"events": ("process.signal",)}),
        (3, False, "log", {"events": ("file.create",), "path_prefix": "/a/"}),
    ]
    assert rules_of(rules, "observe")[0] == (0, False, "log", {"events": ("file.open",), "name": "cat"})
    plan = plan_of(read_policy("rules:\n" + rules, "p"), "enforce")
    assert plan.asks
    assert [(at.guest, at.asked, at.after, at.started) for at in plan.placements] == [
        ((), ("file.open",), (), False),
        ((), (), ("process.exec",), True),
        ((), (), ("process.signal",), False),
        ((), (), ("file.create",), False),
    ]
    assert plan.placements[0].why == ("file.path|re",)
    assert not plan_of(read_policy("rules:\n" + rules, "p"), "observe").asks


def test_exceptions_are_rules_before() -> None:
    shadow = "  - {event: file.open, file.path: /s, unless: {process.executable: [/x, /y]}, do: deny}\n"
    opened = {"events": ("file.open",)}
    assert rules_of(shadow) == [
        (0, True, "allow", {**opened, "path": "/s", "exe": "/y"}),
        (0, True, "deny", {**opened, "path": "/s", "unless_exe": "/x"}),
    ]
    # Where another rule may be about the same, the host looks whether it is.
    told = shadow + "  - {event: file.open, file.path|startswith: /, do: log}"
    assert rules_of(told)[0] == (0, False, "log", {**opened, "path": "/s", "exe": "/y"})
    # Where that one refuses, somebody is asked; where it can't be about the same, nobody.
    with pytest.raises(PolicyError, match=r"p:2: the host judges unless process.executable"):
        rules_of(shadow + "  - {event: file.open, file.path|startswith: /, do: deny}")
    assert rules_of(shadow + "  - {event: file.open, file.path: /t, do: deny}")[0][2] == "allow"


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("{event: process.fork, do: deny}", "p:2: process.fork can't be refused"),
        ("{event: process.signal, do: ask, fallback: deny}", "p:2: nobody can be asked about process.signal"),
        ("{event: process.ptrace, vmon.mode: 1, do: deny}", "p:2: process.ptrace can't wait for the host"),
        (
            "{event: file.open, file.path|re: x, do: deny}",
            "p:2: the host judges file.path|re, and file.open waits",
        ),
        ("{event: process.exec, process.args: x, do: deny}", "p:2: the arguments are known once"),
        (
            "{event: file.open, file.path|re: x, do: log}\n  - {event: file.open, do: deny}",
            "p:2: the host judges file.path|re, and file.open waits for it: what becomes of it when no answer comes? "
            "(fallback: allow, or deny; or put it behind the rule of line 3)",
        ),
        (
            "{event: process.exec, process.args: x, do: log}\n  - {event: process.exec, do: deny}",
            "p:2: the rule of line 3 decides before the arguments are known",
        ),
    ],
)
def test_what_can_not_be_as_it_is_written(rules: str, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        rules_of("  - " + rules)
    assert caught.value.message.startswith(said)


def test_what_may_not_be_meant_is_noted() -> None:
    asked = "{event: file.open, file.path|re: x, process.name: cat, do: deny, fallback: %s}"
    text = "rules:\n  - " + asked + "\n  - {event: file.open, file.path: /s, do: deny}"
    (note,) = plan_of(read_policy(text % "allow", "p"), "enforce").notes
    assert note.startswith("p:3: while vmon is not there, what the rule of line 2 is asked about passes")
    assert not plan_of(read_policy(text % "deny", "p"), "enforce").notes
    assert not plan_of(read_policy(text % "allow", "p"), "observe").notes


# The first rule that fits decides, wherever it runs: against a reading of all rules in turn.

EVENTS = ("file.open", "net.connect")
VALUES = {
    "file.path": ["/a", "/a/b", "/b/a", "/a/b/c"],
    "process.executable": ["/x", "/y"],
    "user.id": ["0", "1"],
    "process.name": ["n", "m"],
    "destination.ip": ["10.0.0.1", "10.1.0.1", "::ffff:10.0.0.1", "fd00::1"],
    "destination.port": ["22", "80"],
    "vmon.write": ["0", "1"],
    "vmon.tree.entity_id": ["5@5", "6@6"],
}
MODIFIERS = {
    "file.path": ["equals", "startswith", "endswith", "glob", "re", "contains"],
    "destination.ip": ["cidr"],
    "destination.port": ["equals", "gt"],
    "vmon.write": ["equals"],
}
WORDS = {
    "glob": ["/a/*", "/a/**", "/*/b", "**/a", "/a/*/*"],
    "re": ["^/a", "b"],
    "cidr": ["10.0.0.0/16", "fd00::/8"],
}


@st.composite
def one_test(draw: st.DrawFn) -> c.Test:
    field = draw(st.sampled_from(sorted(VALUES)))
    modifier = draw(st.sampled_from(MODIFIERS.get(field, ["equals"])))
    words = st.sampled_from(WORDS.get(modifier, VALUES[field]))
    values = [1] if field == "vmon.write" else draw(st.lists(words, min_size=1, max_size=2))
    if modifier == "cidr":
        values += ["::ffff:10.0.0.0/112"] if "10.0.0.0/16" in values else []
    return c.Test(field, modifier, tuple(values))  # type: ignore[arg-type]


CONDITIONS = st.builds(
    lambda tests, some, none: c.AllOf((*tests, *([c.AnyOf(tuple(some))] if some else []), *map(c.Not, none))),
    st.lists(one_test(), max_size=2),
    st.lists(one_test(), max_size=2),
    st.lists(
        st.one_of(one_test(), st.lists(one_test(), min_size=2, max_size=2).map(tuple).map(c.AllOf)),
        max_size=2,
    ),
)
RULES = st.lists(
    st.builds(
        lambda number, events, condition, verb, mode: PolicyRule(
            info=RuleInfo(title=str(number), source=f"p:{number}"),
            events=tuple(sorted(events)),
            condition=condition,
            verb=verb,
            mode=mode,
            vm=(),
            errno=1,
            timeout_ms=1,
            fallback="allow",
            rate=None,
        ),
        st.integers(1, 9),
        st.sets(st.sampled_from(EVENTS), min_size=1),
        CONDITIONS,
        st.sampled_from(["allow", "log", "deny", "kill", "ask", "suspend"]),
        st.sampled_from([None, None, None, "observe"]),
    ),
    min_size=1,
    max_size=4,
)


@st.composite
def occurrences(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    event = draw(st.sampled_from(EVENTS))
    fields: dict[str, Any] = {}
    for name, values in VALUES.items():
        own = name in ("file.path", "vmon.write") if event == "file.open" else name.startswith("destination")
        if own or name.split(".")[0] in ("process", "user"):
            fields[name] = draw(st.sampled_from(values))
    fields["vmon.tree.entity_id"] = draw(st.lists(st.sampled_from(VALUES["vmon.tree.entity_id"]), max_size=2))
    return event, fields


def probe_fits(rule: Rule, event: str, fields: dict[str, Any]) -> bool:
    """What rules.c does."""
    return all(_conditions(rule, event, fields))


def _conditions(rule: Rule, event: str, fields: dict[str, Any]) -> Iterator[bool]:
    yield event in rule.events
    yield rule.flags is None or fields.get("vmon.write") == "1"
    same = {rule.uid: "user.id", rule.exe: "process.executable", rule.name: "process.name"}
    for value, name in (*same.items(), (rule.port, "destination.port")):
        yield value is None or str(value) == fields.get(name)
    others = {
        rule.unless_uid: "user.id",
        rule.unless_exe: "process.executable",
        rule.unless_name: "process.name",
    }
    for value, name in others.items():
        yield value is None or str(value) != fields.get(name)
    tags = fields["vmon.tree.entity_id"]
    yield (rule.tree is None or rule.tree in tags) and rule.unless_tree not in tags
    if rule.address is not None:
        network = ipaddress.ip_network(rule.address, strict=False)
        yield "destination.ip" in fields and ipaddress.ip_address(fields["destination.ip"]) in network
    path = fields.get("file.path")
    for pattern in (rule.path, rule.path_prefix, rule.path_suffix, rule.path_glob):
        yield pattern is None or path is not None
    if path is not None:
        yield rule.path in (None, path)
        yield path.startswith(rule.path_prefix or "") and path.endswith(rule.path_suffix or "")
        yield rule.path_glob is None or re.search(expression("glob", rule.path_glob), path) is not None


def decided(plan: Plan, matcher: Matcher, event: str, fields: dict[str, Any]) -> tuple[int | None, bool]:
    """Which rule decides, and whether that is in time to refuse."""
    entry = next((entry for entry in plan.entries if probe_fits(entry.rule, event, fields)), None)
    if entry is None or (entry.exception and entry.exact):
        return None, True
    if entry.exact:
        return entry.number, True
    first = next((n for n, _ in matcher.numbered(event, fields) if n >= entry.number), None)
    return first, entry.rule.action == "ask" and not entry.rule.observe


@steady(300)
@given(RULES, occurrences())
def test_the_first_rule_that_fits_decides(
    rules: list[PolicyRule], happens: tuple[str, dict[str, Any]]
) -> None:
    event, fields = happens
    policy = Policy(file="p", title="", description="", mode="enforce", vm=(), rules=tuple(rules))
    plan = plan_of(policy)
    matcher = Matcher([rule.on_host("enforce") for rule in rules])
    expected = next((number for number, _ in matcher.numbered(event, fields)), None)
    number, in_time = decided(plan, matcher, event, fields)
    silent = (None, *(n for n, rule in enumerate(rules) if rule.verb == "allow"))
    assert number == expected or (number in silent and expected in silent)
    if expected is not None and rules[expected].verb in ("deny", "kill", "ask"):
        assert in_time or rules[expected].observed("enforce")
