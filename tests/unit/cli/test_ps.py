from __future__ import annotations

import json

import msgspec
import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.test_tree import TEMPLATE
from tests.unit.linux.scene import Scene
from vmon.cli.ps import command, coverage, started
from vmon.core.coverage import Answer
from vmon.core.errors import NoSuchProcess
from vmon.linux.snapshot import Snapshot
from vmon.monitor.process import Process


def test_choosing_processes(run: Run) -> None:
    def pids(*options: str) -> list[int]:
        return [
            record["pid"] for record in json.loads(run("ps", "x", *options, "-o", "json").stdout)["records"]
        ]

    assert pids() == [1, 2, 42, 77, 99]
    assert pids("--user-only") == [1, 42, 77, 99]
    assert pids("--pid", "99", "--pid", "1") == [99, 1]
    with pytest.raises(NoSuchProcess):
        run("ps", "x", "--pid", "5")


@pytest.mark.parametrize(
    ("nanoseconds", "shown"),
    [(0, "+0.0s"), (59_900_000_000, "+59.9s"), (61_000_000_000, "+1:01"), (3_600_000_000_000, "+1:00:00")],
)
def test_when_it_started(nanoseconds: int, shown: str) -> None:
    assert started(nanoseconds) == shown


def test_command_lines() -> None:
    def shown(**values: object) -> str:
        return command(msgspec.structs.replace(TEMPLATE, name="n", **values))

    assert shown(cmdline=["a", "b c"]) == "a b c"
    assert shown(cmdline=[], state="S") == "[n]"
    assert shown(cmdline=[], state="Z") == "[n] <defunct>"
    assert "not in memory" in shown(cmdline=None)


def test_the_table(run: Run) -> None:
    lines = run("ps", "x").stdout.splitlines()
    assert lines[0].split() == [
        "PID",
        "PPID",
        "UID",
        "STATE",
        "THREADS",
        "RSS",
        "TTY",
        "STARTED",
        "NAME",
        "COMMAND",
    ]
    assert lines[1].split() == [
        "1",
        "0",
        "0",
        "S",
        "1",
        "40.0",
        "KiB",
        "pts/3",
        "+0.0s",
        "init",
        "/sbin/init",
        "splash",
    ]


def test_what_the_records_lack_is_said_with_them() -> None:
    made = Scene("new")
    made.guest.set(made.worker_mm, "mm_struct", {"pgd": 0xFFFF_F000_0000_0000})
    kernel = made.guest.kernel()
    snapshots = [Snapshot.of_all(kernel) for _ in range(2)]
    chosen = [Process.all_of(snapshot)[2] for snapshot in snapshots]
    assert coverage(chosen).records() == []
    for process in chosen:
        assert process.record().cmdline is None
    assert [(gap.what, gap.reason, gap.count) for gap in coverage(chosen).records()] == [
        ("cmdline", "not resident", 2)
    ]
    whole = Answer(chosen, lambda: snapshots[0].coverage)
    assert [gap.count for gap in coverage(whole).records()] == [1]
