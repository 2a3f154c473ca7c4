from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.tui.fake import ROWS, event, row
from vmon.tui.arrange import View, arrange, event_matches, row_matches, words_of
from vmon.tui.columns import NAMES, Context
from vmon.tui.source import Row

CONTEXT = Context({"21@21000000000": 0.5}, {0: "root", 33: "www-data"})


def pids(view: View, rows: list[Row] = ROWS) -> list[int]:
    return [placed.row.pid for placed in arrange(rows, view, CONTEXT)]


def test_order() -> None:
    assert pids(View()) == [21, 1, 20, 22, 23]
    assert pids(View(reverse=True)) == [1, 20, 22, 23, 21]
    assert pids(View(sort="command")) == sorted(
        [1, 20, 21, 22, 23], key=lambda pid: pids(View(sort="command")).index(pid)
    )
    assert pids(View(sort="pid", kernel_threads=True)) == [1, 2, 20, 21, 22, 23]


def test_every_column_sorts_what_is_not_known_too() -> None:
    odd = row(5, uid=None, size=None, container="abc", kernel_thread=True)
    for name in NAMES:
        assert len(pids(View(sort=name, kernel_threads=True), [*ROWS, odd])) == 7


def test_next_column_and_round() -> None:
    view = View(sort=NAMES[-1], reverse=True)
    view.step_sort(1)
    assert (view.sort, view.reverse) == (NAMES[0], False)


def test_filters() -> None:
    assert pids(View(filter="HTTPD")) == [21, 20]
    assert pids(View(filter="httpd !worker")) == [20]
    assert pids(View(filter="www-data")) == [21, 20]
    assert pids(View(filter="uid=33 state=r")) == [21]
    assert pids(View(filter="pid=2")) == []
    assert pids(View(filter="!uid=0 !pid=21")) == [20]
    assert pids(View(filter="0123456789ab")) == [22]
    assert row_matches([], ROWS[0], CONTEXT)
    assert row_matches(words_of("a=b !"), row(9, command="a=b"), CONTEXT) is False


def test_filters_of_events() -> None:
    assert event_matches(words_of("shadow event=file.open"), event(), "/etc/shadow")
    assert event_matches(words_of("pid=21 uid=33 worker"), event(), "")
    assert not event_matches(words_of("!shadow"), event(), "/etc/shadow")
    assert event_matches([], event(), "")


def test_tree() -> None:
    placed = arrange(ROWS, View(sort="pid", tree=True, kernel_threads=True), CONTEXT)
    assert [(p.row.pid, p.indent) for p in placed] == [
        (1, ""), (20, "├─ "), (21, "│  └─ "), (22, "├─ "), (23, "└─ "), (2, ""),
    ]  # fmt: skip


def test_folded_branches_and_ancestors_of_what_fits() -> None:
    view = View(sort="pid", tree=True, folded={"1@1000000000"})
    (first,) = arrange(ROWS, view, CONTEXT)
    assert (first.row.pid, first.below) == (1, 4)
    placed = arrange(ROWS, View(sort="pid", tree=True, filter="worker"), CONTEXT)
    assert [(p.row.pid, p.fits) for p in placed] == [(1, False), (20, False), (21, True)]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 11)), max_size=12),
    st.booleans(),
    st.sets(st.integers(0, 9)),
)
def test_a_tree_of_lies_has_every_process_once(
    links: list[tuple[int, int]], reverse: bool, folded: set[int]
) -> None:
    parents = dict(links)
    rows = [row(pid + 1, key=str(pid), parent=str(parent)) for pid, parent in parents.items()]
    view = View(
        sort="pid", tree=True, reverse=reverse, kernel_threads=True, folded={str(pid) for pid in folded}
    )
    placed = arrange(rows, view, CONTEXT)
    keys = [p.row.key for p in placed]
    assert len(keys) == len(set(keys))
    assert len(keys) + sum(p.below for p in placed) == len(rows)


def test_a_thousand_generations_stay_on_the_screen() -> None:
    rows = [row(n, key=str(n), parent=str(n - 1)) for n in range(1, 1001)]
    assert max(len(p.indent) for p in arrange(rows, View(sort="pid", tree=True), CONTEXT)) < 50
    assert msgspec.structs.replace(rows[0], pid=7).pid == 7
