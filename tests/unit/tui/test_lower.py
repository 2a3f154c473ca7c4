from __future__ import annotations

from typing import get_args

from vmon.tui.lower import CHECK_AT, EVENTS_AT, OF_THE_GUEST, PAGES, RULES_AT
from vmon.tui.source import Subject


def test_there_is_a_page_for_every_subject() -> None:
    assert [subject for _, subject in PAGES if subject is not None] == list(get_args(Subject))
    assert [PAGES[at][0] for at in OF_THE_GUEST] == ["Events", "Check", "Rules"]
    assert (PAGES[EVENTS_AT][1], PAGES[CHECK_AT][1], PAGES[RULES_AT][1]) == (None, "check", "rules")
    assert len(PAGES) <= 9, "a digit chooses each"


def test_the_names_of_the_pages_fit_80_columns() -> None:
    assert sum(len(name) + 3 for name, _ in PAGES) <= 80
