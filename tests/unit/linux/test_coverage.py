from __future__ import annotations

import struct
from typing import Any

import pytest

from tests.unit.linux.scene import Scene, scene
from vmon.core.coverage import Gaps
from vmon.linux.coverage import gaps_of, gaps_of_files, gaps_of_row
from vmon.linux.snapshot import Snapshot

WILD = 0xFFFF_F000_0000_0000
WORKER = 2


def told(gaps: Gaps) -> list[tuple[str, str, int]]:
    return [(gap.what, gap.reason, gap.count) for gap in gaps.records()]


def read_all(snapshot: Snapshot) -> None:
    snapshot.records()
    assert len(snapshot.files) == len(snapshot.sockets) == len(snapshot)


def pass_on(made: Scene, snapshot: Snapshot) -> None:
    """The worker ends, and its task is used again."""
    guest = made.guest
    ram: Any = snapshot.kernel.memory.phys
    where = guest.at(made.worker_process.task, "task_struct", "pid")
    ram.guest_writes(guest.gpa(where), struct.pack("<I", 4711))


@pytest.mark.parametrize("model", ["new", "old"])
def test_nothing_is_missing_where_all_can_be_read(model: str) -> None:
    snapshot = Snapshot.of_all(scene(model).guest.kernel())
    assert snapshot.coverage == []
    read_all(snapshot)
    assert snapshot.coverage == []
    assert [told(gaps_of_row(snapshot, row)) for row in range(len(snapshot))] == [[]] * 5


def test_what_leads_nowhere_is_counted_once_it_was_asked_for() -> None:
    made = Scene("new")
    guest = made.guest
    task = made.worker_process.task
    guest.set(task, "task_struct", {"real_cred": WILD, "fs": WILD})
    guest.set(made.worker_mm, "mm_struct", {"exe_file": WILD, "pgd": WILD})
    guest.set(made.odd.task, "task_struct", {"files": WILD})
    snapshot = Snapshot.of_all(guest.kernel())
    assert told(gaps_of(snapshot)) == []
    assert snapshot.uid[WORKER] is None
    assert told(gaps_of(snapshot)) == [("credentials", "unreadable", 1)]
    read_all(snapshot)
    assert told(gaps_of(snapshot)) == [
        ("credentials", "unreadable", 1),
        ("cmdline", "not resident", 1),
        ("exe", "unreadable", 1),
        ("cwd", "unreadable", 1),
        ("root", "unreadable", 1),
        ("files", "unreadable", 1),
    ]
    assert snapshot.coverage == gaps_of(snapshot).records()


def test_a_process_that_ended_is_counted_once_and_not_field_by_field() -> None:
    made = Scene("new")
    snapshot = Snapshot.of_all(made.guest.kernel())
    pass_on(made, snapshot)
    assert told(gaps_of_row(snapshot, WORKER)) == [("processes", "torn", 1)]
    assert told(gaps_of_row(snapshot, 0)) == []
    read_all(snapshot)
    assert told(gaps_of(snapshot)) == [("processes", "torn", 1)]
    assert told(gaps_of_files(snapshot, WORKER)) == [("processes", "torn", 1)]
    assert told(gaps_of_files(snapshot, 0)) == []


def test_what_was_dropped_from_the_list() -> None:
    made = Scene("new")
    made.guest.set(made.worker_process.task, "task_struct", {"tgid": 41})
    assert told(gaps_of(Snapshot.of_all(made.guest.kernel()))) == [("processes", "torn", 1)]


def test_threads_that_are_not_counted() -> None:
    made = Scene("new")
    guest = made.guest
    signal = guest.get(made.worker_process.task, "task_struct", "signal")
    guest.set(signal, "signal_struct", {"nr_threads": 1 << 20})
    other = guest.get(made.odd.task, "task_struct", "signal")
    guest.set(other, "signal_struct", {"nr_threads": 2, "thread_head": struct.pack("<Q", WILD)})
    snapshot = Snapshot.of_all(guest.kernel())
    assert len(snapshot.cpu_times) == 5
    assert told(gaps_of(snapshot)) == [("threads", "bounded", 2)]


def test_files_of_one_process() -> None:
    made = Scene("new")
    guest = made.guest
    lost = guest.new("file", {"f_path.mnt": WILD, "f_path.dentry": WILD})
    dying = guest.special_file("sockfs", b"", 0o140777, 1, private_data=guest.new("socket"))
    guest.set(made.odd.task, "task_struct", {"files": guest.fdtable({3: lost, 4: lost, 5: dying})})
    table = guest.get(made.worker_files, "files_struct", "fdt")
    guest.set(table, "fdtable", {"max_fds": 2 << 20})
    snapshot = Snapshot.of_all(guest.kernel())
    read_all(snapshot)
    assert told(gaps_of_files(snapshot, 4)) == [("path", "unreadable", 2), ("sockets", "unreadable", 1)]
    assert ("files", "bounded", 1) in told(gaps_of_files(snapshot, WORKER))
    assert told(gaps_of_files(snapshot, 0)) == []
    assert len(told(gaps_of(snapshot))) >= 3
