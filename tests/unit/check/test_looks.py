from __future__ import annotations

from collections.abc import Hashable

import pytest

from vmon.check import looks
from vmon.check.kinds import finding
from vmon.check.looks import LOOKS, settled
from vmon.core.coverage import Gaps
from vmon.core.records.finding import FindingRecord

ONE = finding("module.hidden", "x", ["one"])
TWO = finding("module.hidden", "y", ["two"])


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks.time, "sleep", lambda _: None)


def run(answers: list[dict[Hashable, FindingRecord]]) -> tuple[list[FindingRecord], int, Gaps]:
    gaps, done = Gaps(), []

    def look(seen: Gaps) -> dict[Hashable, FindingRecord]:
        seen.add("x", "torn", f"look {len(done)}")
        done.append(1)
        return answers[len(done) - 1]

    return settled(look, gaps), len(done), gaps


def test_nothing_is_looked_for_once() -> None:
    assert run([{}])[:2] == ([], 1)


def test_what_goes_away_is_no_finding() -> None:
    found, count, gaps = run([{1: ONE, 2: TWO}, {2: TWO}, {}, {1: ONE}])
    assert (found, count) == ([], 3)
    # What a look that did not count could not see is no gap of the answer.
    assert [gap.detail for gap in gaps.records()] == ["look 2"]


def test_what_stays_is_one_as_last_seen() -> None:
    found, count, gaps = run([{1: ONE, 2: TWO}, {1: ONE}, {1: ONE, 2: TWO}, {1: TWO}])
    assert (found, count) == ([TWO], LOOKS)
    assert [gap.detail for gap in gaps.records()] == ["look 3"]
