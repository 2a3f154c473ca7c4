from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.unit.linux.small import Small
from vmon.core.coverage import Gaps
from vmon.core.records.login import LoginRecord
from vmon.linux import namespace, tty
from vmon.linux.terminal import WANTS, read_logins, read_terminals

COMMON = {
    "timekeeper": "xtime_sec:u64",
    "task_struct": "loginuid:u32 signal:p",
    "signal_struct": "tty:p",
    "tty_driver": "major:s32 minor_start:s32 type:u16 subtype:u16",
    "tty_file_private": "tty:p file:p list:list_head",
    "file": "f_inode:p",
    "upid": "nr:s32 ns:p",
    "pid": "level:u32 numbers:upid*1",
}
OLD = {
    **COMMON,
    "timespec64": "tv_sec:u64 tv_nsec:u64",
    "inode": "i_rdev:u32 i_atime:timespec64",
    "tty_struct": "name:char*64 index:s32 driver:p pgrp:p session:p tty_files:list_head",
}
NEW = {
    **COMMON,
    "inode": "i_rdev:u32 i_atime_sec:u64",
    "control": "lock:u32 pgrp:p session:p",
    "tty_struct": "name:char*64 index:s32 driver:p ctrl:control tty_files:list_head",
}
MODELS = pytest.mark.parametrize("structs", [OLD, NEW], ids=["plain", "with ctrl"])
PTS, NOW = 136, 1_800_000_000
WILD = 0xFFFF_C900_0000_0000


class Processes:
    """What a snapshot knows of them."""

    boot_time = 1_700_000_000.0

    def __init__(self, tasks: list[int], rows: list[dict[str, Any]]) -> None:
        self.tasks = np.array(tasks, dtype=np.uint64)
        self.pid = [row["pid"] for row in rows]
        self.name = [b"p%d" % row["pid"] for row in rows]
        self.uid = [row.get("uid", 0) for row in rows]
        self.start_boottime_ns = [row["pid"] * 10**9 for row in rows]
        self.cmdline = [row.get("cmdline", [b"run", b"\xff"]) for row in rows]
        self.groups_of_session = [row["pgid"] for row in rows], [row["sid"] for row in rows]

    def __len__(self) -> int:
        return len(self.pid)

    def key(self, row: int) -> str:
        return f"{self.pid[row]}@{self.start_boottime_ns[row]}"


class Scene:
    def __init__(self, structs: dict[str, str], clock: str = "tk_core") -> None:
        symbols = {clock: 64} if clock else {}
        self.small = Small(WANTS | tty.WANTS | namespace.WANTS, structs, symbols)
        if clock:
            self.small.put(self.small.symbol(clock) + 8, NOW)
        self.driver = self.small.new("tty_driver", major=PTS, minor_start=0, type=4, subtype=2)
        self.tasks: list[int] = []
        self.rows: list[dict[str, Any]] = []

    def pid(self, number: int) -> int:
        gva = self.small.new("pid")
        self.small.put(self.small.field(gva, "pid", "numbers"), number, 4)
        return gva

    def terminal(self, index: int, sid: int, pgid: int, *typed: tuple[int, int]) -> int:
        """`typed`: device and time of each inode that is open on it."""
        small = self.small
        gva = small.new("tty_struct", index=index, driver=self.driver, name=b"pts%d" % index)
        small.set(gva, "tty_struct", ctrl__pgrp=self.pid(pgid) if pgid else 0)
        small.set(gva, "tty_struct", ctrl__session=self.pid(sid) if sid else 0)
        opened = []
        for device, at in typed:
            node = small.new("inode", i_rdev=device, i_atime_sec=at)
            private = small.new("tty_file_private", file=small.new("file", f_inode=node))
            opened.append(small.field(private, "tty_file_private", "list"))
        small.chain(small.field(gva, "tty_struct", "tty_files"), opened)
        return gva

    def process(self, terminal: int, loginuid: int = 0xFFFF_FFFF, **row: Any) -> None:
        signal = self.small.new("signal_struct", tty=terminal)
        self.tasks.append(self.small.new("task_struct", signal=signal, loginuid=loginuid))
        self.rows.append(row)

    def read(self) -> tuple[list[LoginRecord], Gaps]:
        gaps = Gaps()
        processes: Any = Processes(self.tasks, self.rows)
        return read_logins(self.small.kernel(), processes, gaps), gaps


@MODELS
def test_sessions_with_a_terminal(structs: dict[str, str]) -> None:
    scene = Scene(structs)
    device = PTS << 20 | 3
    second = scene.terminal(3, 20, 22, (device, NOW - 40), (device, NOW - 7), (5 << 20, NOW))
    first = scene.terminal(300, 10, 10)
    scene.process(0, pid=1, pgid=1, sid=1)
    scene.process(second, pid=22, pgid=22, sid=20, uid=5)
    scene.process(second, 1000, pid=20, pgid=20, sid=20, uid=1000)
    scene.process(second, pid=21, pgid=22, sid=20)
    scene.process(first, pid=10, pgid=10, sid=10, cmdline=None)
    records, gaps = scene.read()
    one, two = records
    assert (one.tty, one.sid, one.foreground_pids, one.foreground_command) == ("pts/300", 10, [10], None)
    assert (one.idle, one.login_uid, one.processes) == (None, None, 1)
    assert one.device == 300 & 0xFF | PTS << 8 | (300 & ~0xFF) << 12
    assert (two.tty, two.device, two.sid) == ("pts/3", PTS << 8 | 3, 20)
    assert (two.process, two.key, two.uid, two.login_uid) == ("p20", "20@20000000000", 1000, 1000)
    assert (two.start_boottime_ns, two.start_time) == (20 * 10**9, 1_700_000_020.0)
    assert (two.foreground_pgid, two.foreground_pids) == (22, [22, 21])
    assert two.foreground_command == ["run", "\udcff"]
    assert (two.idle, two.processes) == (7, 3)
    assert gaps.records() == []


def test_a_session_whose_leader_ended_and_whose_foreground_is_empty() -> None:
    scene = Scene(NEW, clock="timekeeper_data")
    scene.process(scene.terminal(0, 0, 0, (PTS << 20, NOW + 5)), pid=5, pgid=5, sid=4)
    (record,), _ = scene.read()
    assert (record.process, record.key, record.uid, record.start_time) == (None, None, None, None)
    assert (record.sid, record.foreground_pgid, record.foreground_pids) == (0, None, [])
    assert record.idle == 0


def test_no_clock_no_idle_time() -> None:
    scene = Scene(OLD, clock="")
    scene.process(scene.terminal(0, 5, 5, (PTS << 20, NOW)), pid=5, pgid=5, sid=5)
    assert scene.read()[0][0].idle is None


@MODELS
def test_files_that_loop_and_terminals_that_are_nowhere(structs: dict[str, str]) -> None:
    scene = Scene(structs)
    device = PTS << 20
    looping = scene.terminal(0, 5, 5, (device, NOW), (device, NOW))
    files = scene.small.field(looping, "tty_struct", "tty_files")
    first = int.from_bytes(scene.small.kernel().memory.read(files, 8), "little")  # type: ignore[arg-type]
    scene.small.put(first, first)
    scene.process(looping, pid=5, pgid=5, sid=5)
    scene.process(WILD, pid=6, pgid=6, sid=6)
    records, gaps = scene.read()
    assert {record.tty: record.sid for record in records}["pts/0"] == 5
    assert len(records) == 2
    assert next((gap.what, gap.reason) for gap in gaps.records()) == ("idle", "unreadable")


def test_nobody() -> None:
    scene = Scene(NEW)
    assert scene.read()[0] == []
    assert read_terminals(scene.small.kernel(), np.zeros(0, dtype=np.uint64)) == []
