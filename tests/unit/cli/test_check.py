from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from click.testing import CliRunner

from vmon.check.kinds import finding
from vmon.cli import attached
from vmon.cli.check import check
from vmon.core.coverage import Answer, GapRecord
from vmon.core.errors import FindingsReported
from vmon.core.records.finding import FindingRecord

GAP = GapRecord(what="slabs", reason="unreadable", count=1, detail="")


class Machine:
    def __init__(self, found: Sequence[FindingRecord]) -> None:
        self.found = found
        self.asked: list[object] = []

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def check(self, *subjects: str, expect: Sequence[str], image: object) -> Answer[FindingRecord]:
        self.asked.append((subjects, tuple(expect)))
        return Answer(self.found, [GAP])


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = [
        finding("process.hidden", "process 7 (a\x1b[31m)", ["NOT on: list of tasks"], pid=7),
        finding("process.deleted", "process 9 (b)", ["exe: /tmp/x (deleted)"], pid=9),
    ]
    made = Machine(found)
    monkeypatch.setattr(attached, "attach", lambda target: made)
    return made


def test_findings_with_their_evidence_and_an_exit_code_of_their_own(machine: Machine) -> None:
    done = CliRunner().invoke(check, ["x", "--only", "text", "--expect", "process=auditd"])
    assert isinstance(done.exception, FindingsReported)
    assert done.exception.exit_code == 40
    assert "1 critical, 1 low" in done.exception.message
    assert machine.asked == [(("text",), ("process=auditd",))]
    assert "    NOT on: list of tasks" in done.stdout
    assert "could also be: a package that was upgraded" in done.stdout
    assert "\x1b" not in done.stdout
    assert "not seen: slabs: unreadable" in done.stderr


def test_what_is_less_is_left_out_and_brief_is_a_line_each(machine: Machine) -> None:
    done = CliRunner().invoke(check, ["x", "--least", "high", "--brief"])
    assert "process 9" not in done.stdout
    assert done.stdout.count("\n") == 2
    machine.found = []
    nothing = CliRunner().invoke(check, ["x"], catch_exceptions=False)
    assert nothing.exit_code == 0
    assert "nothing differs" in nothing.stderr


def test_json_has_findings_and_coverage(machine: Machine) -> None:
    done = CliRunner().invoke(check, ["x", "-o", "json"])
    answer = json.loads(done.stdout)
    assert [record["check"] for record in answer["records"]] == ["process.hidden", "process.deleted"]
    assert answer["coverage"][0]["what"] == "slabs"
