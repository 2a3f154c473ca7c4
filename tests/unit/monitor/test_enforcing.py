from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.monitor.test_described import known
from tests.unit.monitor.test_only import event
from vmon.core.detection import Detection
from vmon.core.errors import NoSuchProcess, PolicyError, UsageError
from vmon.core.rules import Rule, RuleRecord
from vmon.monitor.enforcing import Enforcer
from vmon.monitor.policies import as_read
from vmon.policy.file import read_policy
from vmon.policy.plan import Plan, plan_of


class Machine:
    """Keeps rules, and remembers what was done to whom."""

    enforcing = True

    def __init__(self) -> None:
        self.in_force: list[RuleRecord] = []
        self.done: list[tuple[Any, ...]] = []
        self.error: Exception | None = None

    def add_rules(self, rules: list[Rule]) -> list[RuleRecord]:
        return self.exchange_rules([], rules)

    def exchange_rules(self, numbers: list[int], rules: list[Rule]) -> list[RuleRecord]:
        first = max([record.number for record in self.in_force], default=0) + 1
        new = [RuleRecord(number=first + row, hits=0, rule=rule) for row, rule in enumerate(rules)]
        self.in_force = [record for record in self.in_force if record.number not in numbers] + new
        return new

    def rules(self) -> list[RuleRecord]:
        return self.in_force

    def signal(self, pid: int, number: int, *, key: str) -> Any:
        if self.error:
            raise self.error
        self.done.append((number, pid, key))
        return SimpleNamespace(done=True)

    def quarantine(self, pid: int, *, key: str) -> None:
        self.done.append(("quarantine", pid, key))


class Stream:
    def __init__(self) -> None:
        self.known = known()
        self.decide: Any = None

    def record(self, events: Any) -> None:
        assert not list(events)

    def require_seen(self, events: Any) -> None:
        pass

    def decide_by(self, decide: Any) -> None:
        self.decide = decide


RULES = """
mode: enforce
rules:
  - {title: regex, event: file.open, file.path|re: ^/etc/h, do: deny, fallback: allow}
  - {title: args, event: process.exec, process.args: bad, do: kill, fallback: allow}
  - {title: susp, event: file.create, file.path: /s, do: suspend}
  - {title: quar, event: file.create, file.path: /q, do: quarantine}
  - {title: late, event: process.signal, process.parent.name: httpd, do: kill}
  - {title: seen, event: process.exec, file.path: /tmp/x, do: log}
  - {title: fine, event: file.mkdir, file.path|re: f, do: allow}
  - {title: made, event: file.mkdir, do: log, rate: 1/1m}
"""
FILES = {"regex": 1, "args": 2, "susp": 3, "quar": 4, "late": 5, "seen": 6, "fine": 7, "made": 8}


def plan(text: str = RULES) -> Plan:
    return plan_of(read_policy(text, "p"))


class Scene:
    def __init__(self, text: str = RULES, answer: Any = None) -> None:
        self.vm, self.stream, self.told = Machine(), Stream(), list[Detection]()
        self.now = 0.0
        self.enforcer = Enforcer(self.vm, plan(text), self.told.append, answer, lambda: self.now)  # type: ignore[arg-type]
        self.enforcer.listen(self.stream)  # type: ignore[arg-type]
        self.enforcer.put_in()
        self.sequence = 0

    def see(self, kind: str, rule: int, **more: Any) -> None:
        self.sequence += 1
        self.enforcer.see(event(7, name=kind, rule=rule, sequence=self.sequence, ppid=5, **more))

    def ask(self, kind: str, rule: int, **more: Any) -> str:
        self.sequence += 1
        asked = event(7, name=kind, rule=rule, sequence=self.sequence, ppid=5, **more)
        said = self.enforcer.decide(asked)
        verdicts = {"allow": "allowed", "deny": "denied", "kill": "killed"}
        became = {name: getattr(asked, name) for name in asked.__struct_fields__} | {
            "verdict": verdicts[said]
        }
        self.enforcer.see(type(asked)(**became))
        return said

    @property
    def titles(self) -> list[tuple[str, str]]:
        return [(found.rule.title, found.done) for found in self.told]


def test_what_is_asked_is_judged_by_the_whole_rule() -> None:
    scene = Scene()
    assert scene.stream.decide is not None
    assert scene.ask("file.open", 1, path="/etc/hosts") == "deny"
    assert scene.ask("file.open", 1, path="/etc/passwd") == "allow"
    assert scene.titles == [("regex", "done")]


def test_a_program_is_ended_by_its_arguments_once_it_has_started() -> None:
    scene = Scene()
    assert scene.ask("process.exec", 2, path="/bin/x", exe="/bin/sh") == "allow"
    assert scene.ask("process.exec", 2, path="/bin/x", exe="/bin/x", cmdline=["x", "bad"]) == "kill"
    assert scene.ask("process.exec", 2, path="/bin/x", exe="/bin/x", cmdline=["x"]) == "allow"
    assert scene.titles == [("args", "done")]


def test_what_is_left_to_do_is_done_to_the_one_that_was_meant() -> None:
    scene = Scene()
    scene.see("file.create", 3, path="/s")
    scene.see("file.create", 4, path="/q")
    scene.see("process.signal", 5, target_key="1@1")
    assert scene.vm.done == [(signal.SIGSTOP, 7, "7@1"), ("quarantine", 7, "7@1"), (signal.SIGKILL, 7, "7@1")]
    scene.vm.error = NoSuchProcess("gone")
    scene.see("file.create", 3, path="/s")
    scene.vm.error = UsageError("process 1 is init")
    scene.see("file.create", 3, path="/s")
    scene.vm.enforcing = False
    scene.see("file.create", 3, path="/s")
    assert scene.titles[-3:] == [("susp", "failed"), ("susp", "failed"), ("susp", "would")]
    assert [found.reason for found in scene.told[-3:]] == ["gone already", "process 1 is init", ""]


def test_what_was_checked_is_told_with_its_arguments() -> None:
    scene = Scene()
    scene.see("process.exec", 6, path="/tmp/x", exe="/bin/sh")
    assert scene.titles == []
    scene.see("process.exec", 6, path="/tmp/x", exe="/tmp/x", cmdline=["x", "-y"])
    assert [found.event.cmdline for found in scene.told] == [["x", "-y"]]
    scene.see("process.exec", 6, path="/tmp/x", exe="/bin/sh")
    scene.see("process.exit", 0)
    scene.see("process.exec", 6, path="/tmp/x", exe="/bin/sh")
    scene.enforcer.rest()
    assert len(scene.told) == 2, "it may come yet"
    scene.now = 5.0
    scene.enforcer.rest()
    assert scene.titles == [("seen", "done")] * 3
    scene.see("process.exec", 6, path="/tmp/x", exe="/bin/sh", verdict="denied")
    assert len(scene.told) == 4, "what was refused never comes"


def test_a_rule_that_allows_ends_it_and_a_rate_limits_what_is_told() -> None:
    scene = Scene()
    scene.see("file.mkdir", 7, path="/f")
    scene.see("file.mkdir", 7, path="/a")
    scene.see("file.mkdir", 8, path="/b")
    assert scene.titles == [("made", "done")]
    assert (scene.enforcer.told, scene.enforcer.suppressed()) == (2, [("made", 1)])
    scene.see("file.mkdir", 99, path="/b")
    scene.see("file.mkdir", 0, path="/b")
    assert scene.enforcer.told == 2


def test_observing_does_nothing() -> None:
    scene = Scene(RULES.replace("enforce", "observe"))
    assert scene.stream.decide is None
    scene.see("file.open", 1, path="/etc/hosts")
    scene.see("process.exec", 0, path="/bin/x", exe="/bin/x", cmdline=["bad"])
    scene.see("file.create", 2, path="/s")
    assert [done for _, done in scene.titles] == ["would"] * 3
    assert not scene.vm.done


@pytest.mark.parametrize(("answer", "said"), [(lambda _: "kill", "kill"), (None, "allow")])
def test_a_person_is_asked_or_the_fallback_is_said(answer: Any, said: str) -> None:
    scene = Scene(
        "mode: enforce\nrules: [{title: a, event: file.unlink, file.path: /a, do: ask, fallback: allow}]",
        answer,
    )
    assert scene.ask("file.unlink", 1, path="/a") == said
    scene.vm.in_force.append(
        RuleRecord(number=9, hits=0, rule=Rule(events=(), action="ask", fallback="allow"))
    )
    assert scene.ask("file.unlink", 9, path="/b") == said, "of another's rule"


def test_another_policy_takes_its_place() -> None:
    scene = Scene()
    one = "mode: enforce\nrules: [{title: new, event: file.create, file.path: /s, do: log}]"
    assert scene.enforcer.reload(plan(one)) == 1
    assert [record.number for record in scene.vm.in_force] == scene.enforcer.numbers
    assert scene.stream.decide is None, "nobody is asked any more"
    number = scene.enforcer.numbers[0]
    scene.see("file.create", number, path="/s")
    scene.see("file.create", 4, path="/q")
    assert scene.titles == [("new", "done"), ("quar", "done")], "events of the old one still come"
    with pytest.raises(PolicyError):
        scene.enforcer.reload(plan("rules: [{event: x, do: log}]"))
    scene.enforcer.reload(plan())
    assert scene.stream.decide is not None


def test_rules_that_were_put_in_again_have_other_numbers() -> None:
    scene = Scene()
    other = Rule(events=("file.open",), path="/x")
    own = as_read(plan())
    rules = [other, *own[:2], *own[3:]]
    scene.vm.in_force = [RuleRecord(number=row + 50, hits=0, rule=rule) for row, rule in enumerate(rules)]
    scene.enforcer.found_again()
    assert len(scene.enforcer.numbers) == len(own) - 1
    assert scene.ask("file.open", 51, path="/etc/hosts") == "deny"
    assert scene.titles == [("regex", "done")]
