from __future__ import annotations

import pytest

from vmon.core.errors import UsageError
from vmon.policy import ready
from vmon.policy.plan import plan_of


@pytest.mark.parametrize("name", ["linux-server", "ai-agent"])
def test_a_ready_set_observes_and_says_what_each_rule_is_for(name: str) -> None:
    policy = ready.read(name)
    assert policy.mode == "observe"
    assert policy.title
    assert policy.description
    ids = [rule.info.id for rule in policy.rules]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    assert all(rule.info.attack for rule in policy.rules)
    assert not plan_of(policy).asks
    # What refuses goes on when vmon is gone, but where the rule says what becomes of it.
    enforced = plan_of(policy, "enforce")
    for rule, at in zip(policy.rules, enforced.placements, strict=True):
        assert not at.asked or rule.fallback == "allow", rule.info.id
    assert not enforced.notes
    assert len(enforced.entries) < 512


def test_the_names_of_the_ready_sets() -> None:
    assert ready.names() == ("ai-agent", "linux-server")
    with pytest.raises(UsageError, match="no ready set"):
        ready.read("x")
