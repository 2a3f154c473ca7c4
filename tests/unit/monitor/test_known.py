from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.unit.monitor.test_only import event
from vmon.monitor import known as module
from vmon.monitor.known import Known


class Guest:
    """Two processes, and containers that may change."""

    def __init__(self) -> None:
        self.looks = 0
        self.containers = {60: "abc"}

    def snapshot(self) -> Any:
        self.looks += 1
        exes = [SimpleNamespace(text=b"/bin/\xff"), None]
        return SimpleNamespace(exe=exes, containers=self.containers, key=lambda row: f"{row + 5}@1")


def test_programs_are_learned_and_forgotten() -> None:
    known = Known(Guest().snapshot)
    assert known.program("5@1") == "/bin/\udcff"
    assert known.program("6@1") is None
    known.learn(event(5, name="process.fork", target_pid=7, target_key="7@1"))
    assert known.program("7@1") == "/bin/\udcff"
    known.learn(event(7, name="process.exec", exe="/bin/new", cmdline=["new"]))
    assert known.program("7@1") == "/bin/new"
    known.learn(event(7, name="process.exit"))
    assert known.program("7@1") is None


def test_a_cgroup_that_is_new_is_looked_up_once_a_second(monkeypatch: Any) -> None:
    guest = Guest()
    known = Known(guest.snapshot)
    assert known.container(60) == "abc"
    assert guest.looks == 1
    guest.containers = {60: "abc", 70: "def"}
    assert known.container(70) is None, "too soon"
    monkeypatch.setattr(module, "LOOK_AGAIN_S", 0.0)
    assert known.container(70) == "def"
    assert known.container(80) is None
    looks = guest.looks
    assert known.container(80) is None
    assert guest.looks == looks
