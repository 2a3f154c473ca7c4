from __future__ import annotations

import signal
from typing import Any

import msgspec
import pytest

from tests.unit.linux.scene import scene
from vmon.core.coverage import Answer
from vmon.core.errors import NoSuchProcess, UsageError
from vmon.linux.snapshot import Snapshot
from vmon.monitor.process import Process


class FakeVm:
    """Reads the scene, and notes what is to be done."""

    def __init__(self) -> None:
        self.kernel = scene("new").guest.kernel()
        self.done: list[Any] = []

    def processes(self) -> Answer[Process]:
        return Answer(Process.all_of(Snapshot.of_all(self.kernel), self))  # type: ignore[arg-type]

    def process(self, pid: int) -> Process:
        found = next((process for process in self.processes() if process.pid == pid), None)
        if found is None:
            raise NoSuchProcess(f"no process {pid}")
        return found

    def signal(self, *what: Any, **more: Any) -> None:
        self.done.append((*what, more))

    quarantine = release = signal


@pytest.fixture
def vm() -> FakeVm:
    return FakeVm()


def test_acts_name_the_very_process(vm: FakeVm) -> None:
    worker = vm.process(42)
    for act in (worker.kill, worker.terminate, worker.suspend, worker.resume):
        act()
    worker.send_signal(signal.SIGHUP, force=True)
    worker.quarantine()
    worker.release()
    key = {"key": worker.key}
    assert vm.done == [
        *[(42, number, {**key, "force": False}) for number in (9, 15, 19, 18)],
        (42, 1, {**key, "force": True}),
        (42, {**key, "force": False}),
        (42, key),
    ]


def test_of_a_snapshot_alone_nothing_is_done(vm: FakeVm) -> None:
    (process, *_) = Process.all_of(Snapshot.of_all(vm.kernel))
    for act in (process.kill, process.children, process.parent, process.wait):
        with pytest.raises(UsageError, match="snapshot alone"):
            act()


def test_family(vm: FakeVm) -> None:
    worker, init = vm.process(42), vm.process(1)
    assert worker.parent() == init
    assert worker.parents() == [init]
    assert worker in init.children()
    assert set(init.children()) < {*init.children(recursive=True), init}
    assert init.parent() is None
    gone = msgspec.structs.replace(worker, _snapshot=FakeRow(worker))
    with pytest.raises(NoSuchProcess):
        gone.children()


class FakeRow:
    """A process of another start time: it has ended."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def key(self, _: int) -> str:
        return f"{self._process.pid}@1"


def test_what_psutil_asks(vm: FakeVm) -> None:
    worker = vm.process(42)
    record = worker.record()
    assert worker.is_running()
    assert worker.status() == "sleeping" if worker.state == "S" else worker.status()
    assert worker.num_threads() == 3
    assert worker.num_fds() == len(worker.files()) == 3
    assert all(file.type == "regular" for file in worker.open_files())
    assert worker.memory_maps() == worker.maps()
    assert worker.memory_info() == (record.resident_size, record.total_size)
    assert worker.cpu_times() == (record.user_time, record.system_time)
    assert worker.create_time() == record.start_time
    assert worker.uids() == (record.uid, record.euid, record.suid)
    assert worker.gids().effective == record.egid
    assert (worker.terminal(), worker.nice()) == (record.tty, record.nice)
    assert worker.as_dict()["cmdline"] == worker.cmdline
    assert worker.net_connections() == worker.net_connections("tcp6") == []
    assert "worker" in worker._repr_html_()


def test_waiting_ends(vm: FakeVm) -> None:
    worker = vm.process(42)
    with pytest.raises(TimeoutError, match="42 has not ended"):
        worker.wait(0.01)
    msgspec.structs.replace(worker, _snapshot=FakeRow(worker)).wait()
