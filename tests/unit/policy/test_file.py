from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import steady
from vmon.core.errors import UsageError
from vmon.core.rules import WRITING, Rule
from vmon.policy.file import read_policy

GOOD = """
mode: enforce
rules:
  - title: the shadow file
    event: file.open
    path: [/etc/shadow, /etc/gshadow, /root/**]
    unless_exe: /usr/bin/passwd
    errno: EACCES
  - event: [net.connect, net.bind]
    address: 10.0.0.0/8
    port: 22
    do: kill
    container: abc
  - {event: file.open, write: true, uid: 33, do: ask, timeout_ms: 200, fallback: allow}
"""


def test_a_policy_becomes_rules() -> None:
    policy = read_policy(GOOD, "p.yaml")
    assert policy.mode == "enforce"
    shadow = {"events": ("file.open",), "unless_exe": "/usr/bin/passwd", "errno": 13}
    assert [draft.rule for draft in policy.drafts] == [
        Rule(path="/etc/shadow", **shadow),  # type: ignore[arg-type]
        Rule(path="/etc/gshadow", **shadow),  # type: ignore[arg-type]
        Rule(path_glob="/root/**", **shadow),  # type: ignore[arg-type]
        Rule(events=("net.connect", "net.bind"), address="10.0.0.0/8", port=22, action="kill"),
        Rule(events=("file.open",), flags=WRITING, uid=33, action="ask", timeout_ms=200, fallback="allow"),
    ]
    assert [draft.container for draft in policy.drafts] == [None, None, None, "abc", None]
    assert [draft.place for draft in policy.drafts] == [*["p.yaml:4"] * 3, "p.yaml:9", "p.yaml:14"]
    assert policy.drafts[0].title == "the shadow file"


def test_observing_is_the_default() -> None:
    assert read_policy("rules: [{event: file.open}]", "p").mode == "observe"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "p: a policy has rules"),
        ("rules: []", "p: no rules"),
        ("- a", "p: a policy has rules"),
        ("mode: maybe\nrules: []", "p:1: mode is observe or enforce, not 'maybe'"),
        ("mode: observe\nrule: []", "p:2: unknown field 'rule'"),
        ("rules:\n  - event: file.open\n    pth: /a", "p:3: unknown field 'pth'"),
        ("rules:\n  - event: file.open\n    uid: root", "p:3: uid: Expected `int | null`, got `str`"),
        ("rules:\n  - event: file.open\n    do: frob", "p:3: do: Invalid enum value 'frob'"),
        ("rules:\n  - path: /a", "p:2: Object missing required field `event`"),
        ("rules:\n  - event: file.open\n    errno: EFROB", "p:3: 'EFROB' is no errno"),
        ("rules:\n  - event: file.open\n    path: /a\n    path: /b", "p:4: a second 'path'"),
        (
            "rules:\n  - event: file.open\n    write: true\n    flags: 1",
            "p:3: a rule has one of write and flags",
        ),
        ("rules:\n  - just words", "p:2: a rule is fields"),
        ("rules: words", "p:1: rules: is a list"),
        ("rules:\n  - event: [", "p:2: expected the node content"),
        ("rules:\n  - event: *x", "p:2: found undefined alias"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_policy(text, "p")
    assert caught.value.message.startswith(said)


def test_anything_else_is_no_policy() -> None:
    @steady(200)
    @given(st.text(alphabet="rules: -[]{}&*!|>'\"\n\t#a1,?%@\x00é", max_size=60))
    def read(text: str) -> None:
        try:
            assert read_policy("rules:\n" + text, "p").drafts
        except UsageError as error:
            assert error.message.startswith("p:")

    read()
