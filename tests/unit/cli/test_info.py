from __future__ import annotations

import json

from tests.unit.cli.conftest import Run
from tests.unit.linux.build import RELEASE
from vmon.core.records.guest import GuestRecord


def test_json_is_one_object_with_the_release_at_its_top(run: Run) -> None:
    answer = json.loads(run("info", "x", "-o", "json").stdout)
    assert tuple(answer) == GuestRecord.__struct_fields__
    assert answer["release"] == RELEASE
    assert answer["hostname"] == "fake\\xff"
    assert [item["passed"] for item in answer["evidence"]] == [True] * 9
    assert answer["coverage"]


def test_for_people(run: Run) -> None:
    lines = run("info", "x").stdout.splitlines()
    assert f"release       Linux {RELEASE}" in lines
    assert "hostname      fake\\xff" in lines
    assert "booted        2023-11-14 22:13:20+00:00" in lines
    assert lines.index("evidence") < lines.index("not seen")
    assert any(line.startswith("  ok  cr3") for line in lines)
