from __future__ import annotations

import msgspec

from vmon.core.coverage import Answer, Gaps
from vmon.core.html import MOST_CHARACTERS, MOST_ROWS, card, table

HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e&\"'"


class Row(msgspec.Struct):
    pid: int
    name: str
    words: list[str] | None = None
    nothing: int | None = None
    _hidden: int = 7


def test_one_row_a_record_without_empty_columns() -> None:
    page = table([Row(1, "init", ["/sbin/init", "-x"]), Row(2, "sh")])
    assert page.count("<tr>") == 3
    assert "<th>pid</th><th>name</th><th>words</th></tr>" in page
    assert "<td>1</td><td>init</td><td>/sbin/init -x</td>" in page
    assert "nothing" not in page
    assert "hidden" not in page
    assert "2 rows" in page


def test_text_of_the_guest_is_no_markup() -> None:
    for page in (
        table([Row(1, HOSTILE)], notes=[HOSTILE]),
        card(HOSTILE, {"name": HOSTILE}, notes=[HOSTILE]),
    ):
        assert "<script" not in page
        assert "\x1b" not in page
        assert "\u202e" not in page
        assert page.count("&lt;script&gt;") >= 2


def test_what_is_long_is_cut_and_said_to_be() -> None:
    page = table([Row(number, "x" * 10_000) for number in range(MOST_ROWS + 5)])
    assert page.count("<tr>") == MOST_ROWS + 1
    assert "205 rows, 5 more than are shown" in page
    assert "x" * MOST_CHARACTERS not in page


def test_an_answer_is_a_table_with_what_it_lacks_and_prints_as_a_list() -> None:
    gaps = Gaps()
    gaps.add("cmdline", "not resident", count=3)
    answer = Answer([Row(1, "init")], gaps)
    assert "cmdline: not resident in 3" in answer._repr_html_()
    assert repr(answer) == repr([Row(1, "init")])
    assert "not seen" not in Answer([1, 2])._repr_html_()
    assert "0 rows" in Answer[int]()._repr_html_()
