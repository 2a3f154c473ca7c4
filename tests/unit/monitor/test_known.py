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


def test_what_was_there_is_looked_at_closely_once() -> None:
    from tests.unit.monitor.test_described import Guest as Whole

    looks = []
    known = Known(lambda: looks.append(1) or Whole())  # type: ignore[arg-type,return-value,func-returns-value]
    known.look_closely()
    known.look_closely()
    assert len(looks) == 2
    life = known.life("5@1")
    assert life is not None
    assert (life.name, life.cmdline, life.above) == ("httpd", ["httpd", "-p", "80"], (("1@1", "/sbin/init"),))
    assert known.life_of(5) is life
    assert known.life_of(99) is None


def test_of_one_that_ended_a_moment_ago_is_known_still(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "MAX_GONE", 2)
    known = Known(Guest().snapshot)
    for pid in range(20, 24):
        known.learn(event(pid, name="process.exec", exe=f"/bin/{pid}", cmdline=["x"]))
        known.learn(event(pid, name="process.exit"))
    assert known.program("23@1") is None
    assert [known.life(f"{pid}@1") is not None for pid in range(20, 24)] == [False, False, True, True]
    assert known.life_of(23) is not None
    assert known.life_of(20) is None
