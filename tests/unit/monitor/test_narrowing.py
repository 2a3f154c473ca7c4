from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from vmon.core.errors import UsageError
from vmon.core.rules import WRITING, Rule, RuleRecord
from vmon.monitor.narrowing import RulesInForce, make_rules, number_of

HOW = Rule(events=(), action="deny", errno=13)


class FakeVm:
    def process(self, pid: int) -> Any:
        return SimpleNamespace(key=f"{pid}@9")

    def cgroup_of(self, container: str) -> int:
        return len(container)


def made(*events: str, force: bool = False, how: Rule = HOW, **narrow: Any) -> list[Rule]:
    return make_rules(FakeVm(), events, how, narrow, force=force)  # type: ignore[arg-type]


def test_a_path_is_whole_or_a_pattern_and_a_list_is_several_rules() -> None:
    assert made("file.open", path="/etc/shadow", unless_exe="/usr/bin/passwd") == [
        Rule(events=("file.open",), errno=13, path="/etc/shadow", unless_exe="/usr/bin/passwd")
    ]
    found = made("file.open", "file.unlink", path=["/a", "/home/**"])
    assert [(rule.path, rule.path_glob) for rule in found] == [("/a", None), (None, "/home/**")]
    assert {rule.events for rule in found} == {("file.open", "file.unlink")}


def test_what_names_something_in_the_guest_is_looked_up() -> None:
    (rule,) = made("process.exec", pid=5, tree=7, container="c0ffee", unless_tree="9@1")
    assert (rule.key, rule.tree, rule.cgroup_id, rule.unless_tree) == ("5@9", "7@9", 6, "9@1")
    (rule,) = made("process.exec", tree=SimpleNamespace(key="8@8"))
    assert rule.tree == "8@8"


def test_writing() -> None:
    assert made("file.open", path="/a", write=True)[0].flags == WRITING
    assert made("file.open", path="/a", write=True, flags=os.O_APPEND)[0].flags == WRITING | os.O_APPEND
    assert made("file.open", path="/a", write=False)[0].flags is None


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing that narrows"):
        made("file.open", pth="/a")
    with pytest.raises(UsageError, match="some event"):
        made()
    with pytest.raises(UsageError, match="init too") as caught:
        made("file.open")
    assert "force=True" in caught.value.hint
    assert made("file.open", force=True)
    assert made("file.open", how=Rule(events=(), action="log"))
    assert made("net.connect")


def test_errno() -> None:
    assert (number_of("eacces"), number_of(2)) == (13, 2)
    with pytest.raises(UsageError, match="EWHAT"):
        number_of("EWHAT")


def test_rules_are_dropped_at_the_end_of_with() -> None:
    dropped: list[list[int]] = []
    records = [RuleRecord(number=number, hits=0, rule=HOW) for number in (3, 4)]
    with RulesInForce(records, lambda them: dropped.append([record.number for record in them])) as rules:
        assert rules.numbers == [3, 4]
        assert rules[0].rule == HOW
        assert dropped == []
    assert dropped == [[3, 4]]
