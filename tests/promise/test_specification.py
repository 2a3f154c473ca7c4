"""Each promise of SPECIFICATION.md names what holds it: an existing test, a topic of the bench, or "pending"."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bench.__main__ import TOPICS

TOP = Path(__file__).parents[2]
ROW = re.compile(r"^\| ([A-Z]+-\d+) \| (.+?) \| (.*?) \| (.+?) \|$", re.M)


def promises() -> list[tuple[str, str, str, str]]:
    """Id, promise, measured, held by."""
    return ROW.findall((TOP / "SPECIFICATION.md").read_text())


def test_there_are_promises_and_each_has_its_own_id() -> None:
    ids = [row[0] for row in promises()]
    assert len(ids) >= 20
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("row", promises(), ids=lambda row: row[0])
def test_what_holds_a_promise_exists(row: tuple[str, str, str, str]) -> None:
    holders = re.findall(r"`([^`]+)`", row[3])
    assert holders or row[3].startswith("pending")
    for holder in holders:
        if holder.startswith("bench "):
            assert holder.removeprefix("bench ") in TOPICS, holder
            assert re.search(r"\d", row[2]), "a measured promise has its number"
        else:
            path, _, name = holder.partition("::")
            text = (TOP / path).read_text()
            assert not name or re.search(rf"^\s*(def|class) {re.escape(name)}\b", text, re.M), holder
