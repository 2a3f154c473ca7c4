from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from vmon.cli import attached
from vmon.cli.listing import listing
from vmon.cli.output import View
from vmon.core.coverage import Answer, GapRecord
from vmon.core.records.process import EnvRecord

VIEW = View(EnvRecord, ("NAME", "VALUE"), lambda record: (record.name, record.value), "nothing is set")
GAP = GapRecord(what="value\x1b", reason="swapped", count=2, detail="")


class Machine:
    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("records", [[EnvRecord(pid=1, name="A", value="b")], []])
@pytest.mark.parametrize("gaps", [[GAP], []])
def test_every_form_has_the_records_and_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, records: list[EnvRecord], gaps: list[GapRecord]
) -> None:
    monkeypatch.setattr(attached, "attach", lambda target: Machine())
    command = listing("things", "List things.", VIEW, lambda vm: Answer(records, gaps))
    table, lines, whole, rows = (
        CliRunner().invoke(command, ["x", "-o", form], catch_exceptions=False)
        for form in ("table", "jsonl", "json", "csv")
    )
    assert table.stdout.count("\n") == 1 + len(records)
    assert ("nothing is set" in table.stderr) == (not records)
    assert lines.stdout.count("\n") == len(records)
    assert rows.stdout.count("\n") == 1 + len(records)
    for shown in (table, lines, rows):
        assert ("not seen: value\\x1b: swapped in 2\n" in shown.stderr) == bool(gaps)
    answer = json.loads(whole.stdout)
    assert [gap["reason"] for gap in answer["coverage"]] == ["swapped"] * len(gaps)
    assert len(answer["records"]) == len(records)
    assert whole.stderr == ""
