from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import steady
from vmon.core.errors import PolicyError
from vmon.policy import condition as c
from vmon.policy.file import for_target, read_policy
from vmon.policy.rule import Rate

GOOD = """
title: an example
mode: enforce
scope: {vm: 'lab:web*', user.id: 33}
rules:
  - id: shadow
    title: the shadow file
    description: |
      Why.
    severity: high
    attack: T1003.008
    references: https://example.org/
    tags: [a, b]
    event: file.open
    file.path: [/etc/shadow, /etc/gshadow]
    file.path|glob: /root/**
    vmon.write: true
    unless:
      - process.executable: /usr/bin/passwd
      - {user.id: 0, process.name: cron}
    do: deny
    errno: EACCES
    rate: 5/1m
  - event: [net.connect, net.bind]
    destination.ip: 10.0.0.1
    destination.port|gte: 1024
    any: [{process.name: nc}, {process.name: ncat}]
    do: ask
    timeout: 200ms
    fallback: allow
    mode: observe
    vm: [web1]
"""


def test_a_policy_is_read() -> None:
    policy = read_policy(GOOD, "p.yaml")
    assert (policy.mode, policy.title, policy.vm) == ("enforce", "an example", ("lab:web*",))
    shadow, far = policy.rules
    info = shadow.info
    assert (info.id, info.title, info.description, info.severity) == (
        "shadow",
        "the shadow file",
        "Why.",
        "high",
    )
    assert (info.attack, info.references, info.tags) == (
        ("T1003.008",),
        ("https://example.org/",),
        ("a", "b"),
    )
    assert info.source == "p.yaml:6"
    assert (shadow.verb, shadow.errno, shadow.rate, shadow.fallback) == ("deny", 13, Rate(5, 60.0), None)
    user = c.Test("user.id", "equals", (33,))
    assert shadow.condition == c.AllOf(
        (
            user,
            c.Test("file.path", "equals", ("/etc/shadow", "/etc/gshadow")),
            c.Test("file.path", "glob", ("/root/**",)),
            c.Test("vmon.write", "equals", (1,)),
            c.Not(c.Test("process.executable", "equals", ("/usr/bin/passwd",))),
            c.Not(c.AllOf((c.Test("user.id", "equals", (0,)), c.Test("process.name", "equals", ("cron",))))),
        )
    )
    assert far.events == ("net.connect", "net.bind")
    assert far.info.title == "ask net.connect, net.bind"
    assert (far.timeout_ms, far.fallback, far.mode, far.vm) == (200, "allow", "observe", ("web1",))
    names = c.AnyOf((c.Test("process.name", "equals", ("nc",)), c.Test("process.name", "equals", ("ncat",))))
    assert far.condition == c.AllOf(
        (
            user,
            c.Test("destination.ip", "cidr", ("10.0.0.1/32", "::ffff:10.0.0.1/128")),
            c.Test("destination.port", "gte", (1024,)),
            names,
        )
    )
    assert (shadow.observed("enforce"), shadow.observed("observe"), far.observed("enforce")) == (
        False,
        True,
        True,
    )
    assert far.on_host("enforce").observe


def test_what_a_policy_says_of_a_target() -> None:
    policy = read_policy(GOOD, "p")
    assert len(for_target(policy, "lab:web1").rules) == 2
    assert len(for_target(policy, "lab:web2").rules) == 1
    assert not for_target(policy, "qmp:/run/x").rules


def test_observing_is_the_default() -> None:
    assert read_policy("rules: [{event: file.open, do: log}]", "p").mode == "observe"


def rule(*lines: str, do: str = "log") -> str:
    return "rules:\n  - event: file.open\n    do: " + do + "".join(f"\n    {line}" for line in lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "p: a policy is rules:"),
        ("rules: []", "p:1: no rules"),
        ("mode: observe", "p: no rules"),
        ("- a", "p: a policy is rules:"),
        ("mode: maybe\nrules: [{event: file.open, do: log}]", "p:1: mode: 'maybe': invalid enum value"),
        ("mode: [enforce]\nrules: []", "p:1: mode: one value"),
        (
            "mode: observe\nrule: []\nrules: [{event: file.open, do: log}]",
            "p:2: unknown field 'rule' (did you mean rules?)",
        ),
        (rule("pth: /a"), "p:4: unknown field 'pth'"),
        (rule("path: /a"), "p:4: unknown field 'path' (did you mean file.path?)"),
        (rule("file.pat: /a"), "p:4: there is no field 'file.pat' (did you mean file.path?)"),
        (rule("file.path|begins: /a"), "p:4: unknown modifier 'begins'"),
        (rule("file.path|re|glob: /a"), "p:4: a field has one of re and glob"),
        (rule("file.path|re: '('"), "p:4: file.path|re: '(' is no regular expression"),
        (rule("file.path: /a/*"), "p:4: file.path: '/a/*' is a whole path with a star in it"),
        (rule("file.path:"), "p:4: file.path: a value"),
        (rule("file.path: [[a]]"), "p:4: file.path: a value"),
        (rule("file.path: 1.5"), "p:4: file.path: 1.5 is neither"),
        (rule("file.path: ''"), "p:4: file.path: an empty text"),
        (rule("file.path|gt: 5"), "p:4: file.path: gt is for numbers"),
        (rule("file.path|cidr: 10.0.0.0/8"), "p:4: file.path: cidr is for addresses"),
        (rule("file.path|exists: 1"), "p:4: file.path: true or false"),
        (rule("vmon.write: 1"), "p:4: vmon.write: true or false"),
        (rule("user.id: root"), "p:4: user.id: 'root' is no number"),
        (rule("process.name: a-name-that-is-long"), "p:4: process.name: 'a-name-that-is-long' is too long"),
        (rule("process.entity_id: 42"), "p:4: process.entity_id: '42' is no process"),
        (rule("destination.ip: 10.0.0.1"), "p:4: file.open has no destination.ip (it is of net.connect)"),
        (
            "rules: [{event: net.connect, do: log, destination.ip: 10.0.0.0/8}]",
            "p:1: destination.ip: '10.0.0.0/8' is no address (a network is written with |cidr)",
        ),
        (rule("any: {pth: /a}"), "p:4: unknown field 'pth' in any"),
        (rule("unless: []"), "p:4: unless: is fields"),
        (rule("unless: words"), "p:4: unless: is fields"),
        (rule(do="frob"), "p:3: do: 'frob': invalid enum value"),
        (rule(do="kil"), "p:3: do: 'kil': invalid enum value 'kil' (did you mean kill?)"),
        (rule(do="ask"), "p:3: ask: and what becomes"),
        ("rules:\n  - event: file.open", "p:2: a rule says what is done"),
        ("rules:\n  - do: log", "p:2: a rule names its event"),
        (
            "rules:\n  - do: log\n    event: file.opn",
            "p:3: there is no event 'file.opn' (did you mean file.open?)",
        ),
        (rule("errno: EFROB", do="deny"), "p:4: 'EFROB' is no errno"),
        (rule("errno: EPERM"), "p:4: log refuses nothing"),
        (rule("timeout: 5"), "p:4: timeout: 5: expected `str`, got `int` (500ms, 5s, 1m)"),
        (rule("timeout: 2h"), "p:4: a call can wait"),
        (rule("rate: often"), "p:4: rate: 'often'"),
        (rule("attack: T99"), "p:4: attack: 'T99'"),
        (rule("severity: bad"), "p:4: severity: 'bad'"),
        (rule("id: a b"), "p:4: id: 'a b'"),
        (rule("id: a") + "\n  - {id: a, event: file.open, do: log}", "p:5: a second rule 'a'"),
        (rule("file.path: /a", "file.path: /b"), "p:5: a second 'file.path'"),
        ("scope: [a]\nrules: [{event: file.open, do: log}]", "p:1: scope: is fields"),
        ("scope: {file.path: /a}\nrules: [{event: file.open, do: log}]", "p:1: a scope is about who acts"),
        ("rules:\n  - just words", "p:2: a rule is fields"),
        ("rules: words", "p:1: no rules"),
        ("rules:\n  - event: [", "p:2: expected the node content"),
        ("rules:\n  - event: *x", "p:2: found undefined alias"),
        ("x: " + "a" * (1 << 20), "p: 1,048,579 characters"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        read_policy(text, "p")
    assert caught.value.message.startswith(said), caught.value.message


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(PolicyError) as caught:
        read_policy("mode: no\n" + rule("user.id: x", "file.paths: /a", do="lgo"), "p")
    assert [problem.split(":")[1] for problem in caught.value.problems] == ["1", "4", "5", "6"]
    assert caught.value.message.endswith("; and 3 more")


def test_anything_else_is_no_policy() -> None:
    @steady(200)
    @given(st.text(alphabet="rules: -[]{}&*!|>'\"\n\t#a1,?%@\x00é.", max_size=60))
    def read(text: str) -> None:
        try:
            assert read_policy("rules:\n" + text, "p").rules
        except PolicyError as error:
            assert error.message.startswith("p")

    read()
