from __future__ import annotations

from tests.unit.tui.fake import NASTY
from vmon.tui.line import length
from vmon.tui.widgets import page_lines


def test_a_page_has_columns_as_wide_as_they_need() -> None:
    head, line_of = page_lines(("FD", "NAME", "PATH"), [("0", "x" * 100, "/a"), ("17", "é漢", NASTY)])
    assert [text for text, _ in head] == ["FD  ", "NAME".ljust(40) + "  ", "PATH"]
    first, second = line_of(0), line_of(1)
    assert length(first[:2]) == length(second[:2]) == 46
    assert first[1][0].endswith("…  ")
    assert second[2][0] == "\\x1b[31m[bold]evil\\n\\u202e漢字\\xff"


def test_a_page_without_rows() -> None:
    head, _ = page_lines(("RULE",), [])
    assert head == [("RULE", "")]
