from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vmon.core.errors import PolicyError, UsageError
from vmon.monitor.policies import as_read, check_policy, is_of, rules_on
from vmon.policy import ready
from vmon.policy.file import read_policy
from vmon.policy.plan import plan_of


def test_what_the_probe_can_t_judge_is_said_with_its_line() -> None:
    long = "x" * 5000
    with pytest.raises(PolicyError) as caught:
        check_policy(read_policy(f"rules:\n  - {{event: file.open, file.path: /{long}, do: deny}}", "p"))
    assert caught.value.message.startswith("p:2: a path of 5,001 bytes")


def test_what_locks_a_guest_needs_force() -> None:
    policy = read_policy("rules:\n  - {event: file.open, do: deny}", "p")
    with pytest.raises(PolicyError, match=r"p:2: this refuses file.open .*init"):
        check_policy(policy)
    check_policy(policy, force=True)
    check_policy(read_policy("rules: [{event: file.open, container.id: abc, do: deny}]", "p"))
    asks = "rules:\n  - {event: file.open, file.path|re: x, do: deny, fallback: %s}"
    with pytest.raises(PolicyError, match=r"p:2: when nobody answers, this refuses"):
        check_policy(read_policy(asks % "deny", "p"))
    check_policy(read_policy(asks % "allow", "p"))


def test_containers_are_asked_of_the_guest() -> None:
    def cgroup_of(container: str) -> int:
        if container != "abc":
            raise UsageError("no container", hint="vmon tree")
        return 60

    vm: Any = SimpleNamespace(cgroup_of=cgroup_of)
    text = "rules:\n  - {event: file.open, container.id: %s, do: log}\n  - {event: net.bind, source.port: 1, do: log}"
    first, second = rules_on(vm, plan_of(read_policy(text % "abc", "p")))
    assert (first.cgroup_id, second.cgroup_id) == (60, None)
    with pytest.raises(PolicyError, match=r"p:2: no container \(vmon tree\)"):
        rules_on(vm, plan_of(read_policy(text % "x", "p")))


@pytest.mark.parametrize("name", ready.names())
def test_rules_are_known_as_they_are_read(name: str) -> None:
    policy = ready.read(name)
    check_policy(policy)
    plan = plan_of(policy, "enforce")
    found = as_read(plan)
    assert len(found) == len(plan.entries)
    for entry, own in zip(plan.entries, found, strict=True):
        assert set(own.events) == set(entry.rule.events)
        assert (own.action, own.observe) == (entry.rule.action, entry.rule.observe)
        assert is_of(own, own)
