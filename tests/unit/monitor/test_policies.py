from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vmon.core.errors import UsageError
from vmon.monitor.policies import check_policy, rules_on
from vmon.policy.file import read_policy


def test_what_the_probe_can_t_judge_is_said_with_its_line() -> None:
    for rule in (
        "{event: file.frob}",
        "{event: process.signal, do: ask}",
        "{event: file.open, path: '/*/*'}",
    ):
        with pytest.raises(UsageError) as caught:
            check_policy(read_policy(f"rules:\n  - {rule}", "p"), force=True)
        assert caught.value.message.startswith("p:2: ")


def test_what_locks_a_guest_needs_force() -> None:
    policy = read_policy("rules:\n  - event: file.open", "p")
    with pytest.raises(UsageError, match=r"p:2: .*init"):
        check_policy(policy)
    check_policy(policy, force=True)
    check_policy(read_policy("rules: [{event: file.open, container: abc}]", "p"))


def test_containers_are_asked_of_the_guest() -> None:
    def cgroup_of(container: str) -> int:
        if container != "abc":
            raise UsageError("no container")
        return 60

    vm: Any = SimpleNamespace(cgroup_of=cgroup_of)
    policy = read_policy(
        "rules:\n  - {event: file.open, container: abc}\n  - {event: net.bind, port: 1}", "p"
    )
    first, second = rules_on(vm, policy, observe=True)
    assert (first.cgroup_id, first.observe, second.cgroup_id) == (60, True, None)
    with pytest.raises(UsageError, match="p:2: no container"):
        rules_on(vm, read_policy("rules:\n  - {event: file.open, container: x}", "p"))
