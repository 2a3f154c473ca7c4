from __future__ import annotations

from vmon.tui.line import STYLES, Line, cut_line, length, strip

LINE: Line = [("ab", "bold"), ("漢字", ""), ("[red]x", "dim")]


def test_a_strip_has_just_its_columns_and_reads_no_markup() -> None:
    for columns in range(15):
        assert strip(LINE, columns, coloured=True).cell_length == columns
    assert "[red]x" in strip(LINE, 20, coloured=True).text
    assert strip(LINE, 10, coloured=True, skip=2).text.startswith("漢字")
    filled = strip(LINE, 20, coloured=True, fill="cursor")
    assert all(segment.style == STYLES["cursor"] for segment in filled)


def test_lines_are_cut_with_an_ellipsis() -> None:
    assert cut_line(LINE, 12) == LINE
    for columns in range(12):
        shorter = cut_line(LINE, columns)
        assert length(shorter) <= columns
    assert cut_line(LINE, 4) == [("ab", "bold"), ("…", "")]
