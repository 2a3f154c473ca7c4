from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.linux.scene import Scene
from tests.unit.monitor.connection import FakeConnection
from vmon.core.address import Gpa
from vmon.core.errors import DumpFormatError, NoKernelYet, NotSupported, PauseLost, TargetNotFound, UsageError
from vmon.core.target import parse_target
from vmon.monitor import attach as attach_module
from vmon.monitor.attach import attach
from vmon.transport.fake import FakeStandstill


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMON_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("VMON_RUN_DIR", str(tmp_path / "run"))


def test_a_target_is_opened_identified_and_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = FakeConnection(Scene("new").guest)
    asked = []
    monkeypatch.setattr(attach_module, "open_target", lambda target: asked.append(target) or connection)
    with attach("qmp:/x") as vm:
        assert vm.target == "qmp:/x"
        assert len(vm.processes()) == 5
    assert asked == [parse_target("qmp:/x")]
    assert connection.closed == 1


def test_a_target_without_a_kernel_is_closed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.unit.linux.build import Guest

    connection = FakeConnection(Guest("new"))
    monkeypatch.setattr(attach_module, "open_target", lambda target: connection)
    with pytest.raises(NoKernelYet):
        attach("qmp:/x")
    assert connection.closed == 1


def test_targets_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        attach("no such thing")
    for text in (f"dump:{tmp_path}/none", f"qmp:{tmp_path}/none", "pid:2147483646", "nobody"):
        with pytest.raises(TargetNotFound) as caught:
            attach(text)
        assert caught.value.exit_code == 3


def test_a_file_that_is_no_dump(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_bytes(b"\x7fELF")
    with pytest.raises(DumpFormatError):
        attach(f"dump:{short}")


def test_a_raw_dump_of_the_fake_guest(tmp_path: Path) -> None:
    guest = Scene("new").guest
    raw = tmp_path / "ram"
    with raw.open("wb") as file:
        for part in (ram := guest.ram()).ranges:
            file.seek(part.gpa)
            file.write(ram.read(part.gpa, part.size_bytes))
    with attach(f"dump:{raw}") as vm:
        assert [process.pid for process in vm.processes()] == [1, 2, 42, 77, 99]
        assert vm.guest.hypervisor == "dump"


class TestDump:
    """Of a fake guest whose pause the test plays with."""

    @pytest.fixture
    def connection(self, monkeypatch: pytest.MonkeyPatch) -> FakeConnection:
        found = FakeConnection(Scene("new").guest)
        monkeypatch.setattr(attach_module, "open_target", lambda target: found)
        return found

    def test_a_guest_that_goes_on(self, connection: FakeConnection, tmp_path: Path) -> None:
        written = attach_module.dump("qmp:/x", tmp_path / "d")
        assert written.paused_ns is None
        assert connection.closed == 1

    def test_a_guest_that_stands_still(self, connection: FakeConnection, tmp_path: Path) -> None:
        states = []
        written = attach_module.dump(
            "qmp:/x",
            tmp_path / "d",
            progress=lambda *_: states.append(connection.machine.status),
            paused=True,
        )
        assert set(states) == {"paused"}
        assert connection.machine.status == "running"
        assert written.paused_ns == 1
        with attach(f"dump:{tmp_path / 'd'}") as vm:
            assert len(vm.processes()) == 5

    @pytest.mark.parametrize("why", ["the deadline", "somebody else"])
    def test_what_is_not_of_one_moment_is_not_kept(
        self, why: str, connection: FakeConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        machine = connection.machine
        if why == "the deadline":
            monkeypatch.setattr(FakeStandstill, "require_time", lambda _: _raise())
        else:
            read = connection.ram.read

            def moved_on(gpa: Gpa, size_bytes: int) -> bytes:
                machine.status = "running"
                return read(gpa, size_bytes)

            monkeypatch.setattr(connection.ram, "read", moved_on)
        with pytest.raises(PauseLost, match="nothing was kept") as caught:
            attach_module.dump("qmp:/x", tmp_path / "d", paused=True, longest_pause_s=7)
        assert "--pause-limit" in caught.value.hint
        assert not list(tmp_path.iterdir())
        assert machine.status == "running" and connection.closed == 1

    def test_a_dump_has_no_pause(self, connection: FakeConnection, tmp_path: Path) -> None:
        connection.watch = None
        with pytest.raises(NotSupported, match="can't be paused"):
            attach_module.dump("qmp:/x", tmp_path / "d", paused=True)


def _raise() -> None:
    raise PauseLost("late")
