from __future__ import annotations

import pytest

from tests.unit.linux.scene import Scene, scene
from vmon.core.errors import NoSuchProcess, NotMapped
from vmon.linux.snapshot import Snapshot
from vmon.monitor.process import Process


def processes() -> dict[int, Process]:
    snapshot = Snapshot.of_all(scene("new").guest.kernel())
    return {process.pid: process for process in Process.all_of(snapshot)}


def test_attributes_are_those_of_its_row() -> None:
    worker = processes()[42]
    record = worker.record()
    for name in (
        "key",
        "pid",
        "ppid",
        "name",
        "state",
        "uid",
        "kernel_thread",
        "exe",
        "cmdline",
        "cwd",
        "resident_size",
    ):
        assert getattr(worker, name) == getattr(record, name), name
    assert worker.threads_count == record.threads == len(worker.threads()) == 3
    assert [file.fd for file in worker.files()] == [0, 70, 200]
    assert worker.sockets() == []
    assert next(area.start for area in worker.maps()) == 0x40_0000
    assert [item.name for item in worker.environ() or []] == ["A"]


def test_what_a_kernel_thread_does_not_have() -> None:
    thread = processes()[2]
    assert (thread.exe, thread.cwd, thread.resident_size, thread.cmdline) == (None, None, None, [])


def test_two_handles_of_one_process_are_equal() -> None:
    one, other = processes(), processes()
    assert one[42] == other[42]
    assert hash(one[42]) == hash(other[42])
    assert one[42] != one[1]
    assert one[42] != "42@42000000"
    assert repr(one[42]) == "<vmon.Process 42@42000000 'worker'>"
    assert "\x1b" not in repr(one[99])


def test_a_process_that_ended_says_so() -> None:
    made = Scene("new")
    kernel = made.guest.kernel()
    snapshot = Snapshot.of_all(kernel)
    worker = Process.all_of(snapshot)[2]
    worker.require_alive()
    where = made.guest.at(made.worker_process.task, "task_struct", "start_boottime")
    kernel.memory.phys.guest_writes(made.guest.gpa(where), b"\1")  # type: ignore[attr-defined]
    assert not worker.is_alive()
    with pytest.raises(NoSuchProcess, match="42 ended"):
        worker.require_alive()


def test_answers_say_what_they_lack() -> None:
    made = Scene("new")
    kernel = made.guest.kernel()
    snapshot = Snapshot.of_all(kernel)
    worker = Process.all_of(snapshot)[2]
    for answer in (worker.files(), worker.sockets(), worker.maps(), worker.environ(), worker.threads()):
        assert answer is not None
        assert answer.coverage == worker.coverage == []
    where = made.guest.at(made.worker_process.task, "task_struct", "start_boottime")
    kernel.memory.phys.guest_writes(made.guest.gpa(where), b"\1")  # type: ignore[attr-defined]
    for answer in (worker.maps(), worker.environ(), worker.threads()):
        assert answer is not None
        assert [(gap.what, gap.reason) for gap in answer.coverage] == [("processes", "torn")]
    assert worker.cmdline is None
    assert [(gap.what, gap.reason) for gap in worker.coverage] == [("processes", "torn")]


def test_memory_with_what_lacks() -> None:
    worker = processes()[42]
    area = next(area for area in worker.maps() if area.path == "[stack]")
    read = worker.read_memory(area.start, area.end - area.start)
    assert b"--name\0with space\0" in read
    assert read == b"".join(worker.iter_memory(area.start, area.end - area.start))
    assert read.address == area.start
    with pytest.raises(NotMapped):
        processes()[2].read_memory(0, 1)


def test_memory_of_a_process_that_ran_another_program() -> None:
    made = Scene("new")
    kernel = made.guest.kernel()
    worker = Process.all_of(Snapshot.of_all(kernel))[2]
    area = worker.maps()[0]
    where = made.guest.at(made.worker_process.task, "task_struct", "mm")
    kernel.memory.phys.guest_writes(made.guest.gpa(where), bytes(8))  # type: ignore[attr-defined]
    with pytest.raises(NoSuchProcess, match="another program"):
        worker.read_memory(area.start, 1)
    with pytest.raises(NoSuchProcess, match="another program"):
        list(worker.iter_memory(area.start, 1))
