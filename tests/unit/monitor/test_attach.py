from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.linux.scene import Scene
from tests.unit.monitor.connection import FakeConnection
from vmon.core.errors import DumpFormatError, NoKernelYet, TargetNotFound, UsageError
from vmon.core.target import parse_target
from vmon.monitor import attach as attach_module
from vmon.monitor.attach import attach


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
