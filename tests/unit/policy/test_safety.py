from __future__ import annotations

import pytest

from vmon.core.rules import Rule
from vmon.policy.safety import refuses_everything

OPEN = ("file.open",)


@pytest.mark.parametrize(
    "rule",
    [
        Rule(events=OPEN),
        Rule(events=("net.connect", "process.exec"), action="kill"),
        Rule(events=OPEN, path_prefix="/"),
        Rule(events=OPEN, path_glob="/**", uid=0),
        Rule(events=OPEN, tree="1@5"),
        Rule(events=OPEN, unless_exe="/bin/sh"),
        Rule(events=OPEN, action="ask"),
    ],
)
def test_rules_that_lock_a_guest(rule: Rule) -> None:
    assert refuses_everything(rule)


@pytest.mark.parametrize(
    "rule",
    [
        Rule(events=OPEN, path="/etc/shadow"),
        Rule(events=OPEN, flags=1),
        Rule(events=OPEN, uid=1000),
        Rule(events=OPEN, unless_uid=0),
        Rule(events=OPEN, name="sh"),
        Rule(events=OPEN, tree="17@5"),
        Rule(events=OPEN, action="log"),
        Rule(events=OPEN, observe=True),
        Rule(events=OPEN, action="ask", fallback="allow"),
        Rule(events=("net.connect",)),
    ],
)
def test_rules_that_do_not(rule: Rule) -> None:
    assert not refuses_everything(rule)
