from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmon.cli.guarding import Guarding, read_file_or_set
from vmon.core.errors import PolicyError, UsageError
from vmon.core.records.probe import NoticeRecord
from vmon.policy.plan import Plan

GOOD = "mode: enforce\nrules: [{title: one, event: file.open, file.path: /a, do: deny}]"


class Enforcer:
    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.error: Exception | None = None

    def reload(self, plan: Plan) -> int:
        if self.error:
            raise self.error
        self.plans.append(plan)
        return len(plan.entries)


class Out:
    def __init__(self) -> None:
        self.said: list[str] = []

    def notice(self, notice: NoticeRecord) -> None:
        assert notice.event == "vmon.policy"
        self.said.append(notice.said)


def scene(folder: Path, **more: Any) -> tuple[Guarding, Enforcer, Out, Path]:
    file = folder / "p.yaml"
    file.write_text(GOOD)
    guarding = Guarding(str(file), "lab:web1", **({"enforce": None, "force": False} | more))
    enforcer, out = Enforcer(), Out()
    guarding._enforcer, guarding._out = enforcer, out  # type: ignore[assignment]
    guarding._vm = SimpleNamespace(enforcing=True)  # type: ignore[assignment]
    return guarding, enforcer, out, file


def look(guarding: Guarding) -> None:
    guarding._look_at = 0.0
    guarding._look()


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    guarding, enforcer, out, file = scene(tmp_path)
    look(guarding)
    assert not enforcer.plans
    file.write_text(GOOD.replace("one", "another"))
    look(guarding)
    look(guarding)
    assert [plan.policy.rules[0].info.title for plan in enforcer.plans] == ["another"]
    assert out.said == ["read again: 1 rules are in force, as 1 in the guest"]
    guarding._hang_up.set()
    guarding._look()
    assert len(enforcer.plans) == 2


def test_a_mistake_leaves_it_as_it_was_and_is_said(tmp_path: Path) -> None:
    guarding, enforcer, out, file = scene(tmp_path)
    file.write_text("rules:\n  - {event: file.opn, do: log}\n  - {event: file.open, do: lgo}")
    look(guarding)
    assert [said.partition(str(file))[0] for said in out.said] == ["kept as it was: "] * 2
    file.unlink()
    look(guarding)
    assert "No such file" in out.said[-1]
    enforcer.error = UsageError("a table holds 1,024")
    file.write_text(GOOD)
    look(guarding)
    assert out.said[-1] == "kept as it was: a table holds 1,024"
    assert not enforcer.plans


@pytest.mark.parametrize(("enforce", "observed"), [(None, False), (True, False), (False, True)])
def test_the_mode_can_be_said(tmp_path: Path, enforce: bool | None, observed: bool) -> None:
    guarding, *_ = scene(tmp_path, enforce=enforce)
    assert guarding._plan.entries[0].rule.observe is observed


def test_a_file_goes_before_a_ready_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_file_or_set("linux-server").title == "Linux server"
    monkeypatch.chdir(tmp_path)
    Path("linux-server").write_text(GOOD)
    assert read_file_or_set("linux-server").title == ""
    with pytest.raises(UsageError) as caught:
        read_file_or_set("linux-srv")
    assert "ai-agent, linux-server" in caught.value.hint
    with pytest.raises(PolicyError):
        read_file_or_set(os.devnull)
