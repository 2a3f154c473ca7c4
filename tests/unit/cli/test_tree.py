from __future__ import annotations

import json
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cli.conftest import Run
from tests.unit.kernel.fuzz import steady
from tests.unit.linux.scene import scene
from vmon.cli.tree import draw
from vmon.core.records.process import ProcessRecord
from vmon.linux.snapshot import Snapshot

TEMPLATE = Snapshot.of_all(scene("new").guest.kernel()).record(1)


def process(number: int, parent: int | None, **changes: object) -> ProcessRecord:
    key = f"{number}@1"
    parent_key = None if parent is None else f"{parent}@1"
    values = {"key": key, "pid": number, "parent_key": parent_key, "name": f"p{number}", **changes}
    return msgspec.structs.replace(TEMPLATE, **values)


def shape(*pairs: tuple[int, int | None]) -> list[str]:
    return [re.split("  (name|exe|uid) ", line)[0] for line in draw([process(*pair) for pair in pairs])]


def test_descent_is_drawn() -> None:
    assert shape((1, None), (2, 1), (3, 2), (4, 1), (5, None)) == [
        "1 [p1]",
        "├─ 2 [p2]",
        "│  └─ 3 [p3]",
        "└─ 4 [p4]",
        "5 [p5]",
    ]


def test_a_parent_that_is_not_shown_makes_a_root() -> None:
    assert shape((7, 6), (8, 7)) == ["7 [p7]", "└─ 8 [p8]"]


@pytest.mark.parametrize("pairs", [((1, 2), (2, 1)), ((1, 2), (2, 3), (3, 1))])
def test_a_loop_of_parents_is_shown_and_said(pairs: tuple[tuple[int, int], ...]) -> None:
    lines = draw([process(*pair) for pair in pairs])
    assert len(lines) == len(pairs)
    assert all("its chain of parents is a loop" in line for line in lines)


def test_its_own_parent_is_a_root() -> None:
    assert shape((1, 1)) == ["1 [p1]"]


def test_a_line_says_user_memory_and_threads() -> None:
    line = draw([process(1, None, uid=5, resident_size=3 << 20, threads=2, cmdline=["a", "b\n"])])[0]
    assert line.startswith("1 a b\\n  ")
    assert line.endswith("  uid 5  3.0 MiB  2 threads")


@steady(100)
@given(st.lists(st.one_of(st.none(), st.integers(0, 12)), max_size=12))
def test_every_process_is_drawn_once_whatever_the_parents(parents: list[int | None]) -> None:
    lines = draw([process(number, parent) for number, parent in enumerate(parents)])
    assert len(lines) == len(parents)
    for number in range(len(parents)):
        assert sum(f" {number} [p{number}]" in " " + line for line in lines) == 1


def test_the_command(run: Run) -> None:
    lines = run("tree", "x").stdout.splitlines()
    assert [re.split("  (name|exe|uid) ", line)[0] for line in lines] == [
        "1 /sbin/init splash",
        "├─ 42 /usr/bin/worker --name with space  \\xff\\n",
        "│  └─ 99 title: no end here",
        "└─ 77 [defunct] <defunct>",
    ]
    listed = json.loads(run("tree", "x", "-o", "json").stdout)["records"]
    assert [record["pid"] for record in listed] == [1, 42, 99, 77]
    assert any("kthreadd" in line for line in run("tree", "x", "--kernel-threads").stdout.splitlines())
