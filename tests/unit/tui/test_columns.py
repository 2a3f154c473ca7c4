from __future__ import annotations

from tests.unit.tui.fake import row
from vmon.core.text import width
from vmon.tui.columns import BY_NAME, COLUMNS, Context, shown

CONTEXT = Context({"9@9000000000": 0.123, "8@8000000000": 64.0}, {33: "www-\x1bdata"})


def test_cells() -> None:
    assert BY_NAME["cpu"].text(row(9), CONTEXT) == "12.3"
    assert BY_NAME["cpu"].text(row(8), CONTEXT) == "6400"
    assert BY_NAME["cpu"].text(row(7), CONTEXT) == "-"
    assert BY_NAME["user"].text(row(9, uid=33), CONTEXT) == "www-\\x1bdata"
    # A container has users of its own.
    assert BY_NAME["user"].text(row(9, uid=33, container="abc"), CONTEXT) == "33"
    assert BY_NAME["user"].text(row(9, uid=None), CONTEXT) == "-"
    assert BY_NAME["start"].text(row(61), CONTEXT) == "+1:01"


def test_a_line_of_80_columns_has_room_for_the_command() -> None:
    for containers, least in ((False, 30), (True, 17)):
        named = shown(80, containers=containers)
        assert 80 - sum(column.width + 1 for column in named[:-1]) >= least
        assert named[-1].name == "command"
        assert ("container" in [column.name for column in named]) is containers
    assert len(shown(200, containers=True)) == len(COLUMNS)
    assert all(width(column.title) <= column.width for column in COLUMNS[:-1])
