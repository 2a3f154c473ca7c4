from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.unit.monitor.test_only import event
from vmon.monitor.described import described
from vmon.monitor.known import Known


class Guest:
    """init, a server of it, and a thread of the kernel; the server runs a shell."""

    def __init__(self) -> None:
        self.pid = [1, 5, 2]
        self.exe = [SimpleNamespace(text=b"/sbin/init"), SimpleNamespace(text=b"/usr/sbin/httpd"), None]
        self.name = [b"init", b"httpd", b"kthreadd"]
        self.cmdline = [[b"init"], [b"httpd", b"-p", b"80"], None]
        self.parent_key = [None, "1@1", None]
        self.containers: dict[int, str] = {}

    def key(self, row: int) -> str:
        return f"{self.pid[row]}@1"


def known() -> Known:
    found = Known(Guest)  # type: ignore[arg-type]
    found.look_closely()
    found.learn(event(5, name="process.fork", target_pid=7, target_key="7@1"))
    found.learn(event(7, name="process.exec", exe="/bin/sh", cmdline=["sh", "-c", "x"], path="/bin/sh"))
    return found


def fields(**more: Any) -> dict[str, Any]:
    return described(event(more.pop("pid", 7), ppid=more.pop("ppid", 5), **more), known())


def test_parents_and_those_above_them() -> None:
    found = fields(name="file.open", path="/a")
    assert found["process.parent.executable"] == "/usr/sbin/httpd"
    assert found["process.parent.name"] == "httpd"
    assert found["process.parent.command_line"] == "httpd -p 80"
    assert found["vmon.tree.entity_id"] == ["7@1", "5@1", "1@1"]
    assert found["vmon.tree.executable"] == ["/usr/sbin/httpd", "/sbin/init"]


def test_what_it_ran_before() -> None:
    started = fields(name="process.exec", exe="/bin/sh", cmdline=["sh"], path="/bin/sh")
    assert started["process.previous.executable"] == "/usr/sbin/httpd"
    checked = fields(name="process.exec", exe="/bin/sh", path="/tmp/x")
    assert (checked["process.previous.executable"], checked["process.executable"]) == ("/bin/sh", "/tmp/x")


def test_to_whom() -> None:
    assert fields(name="process.signal", target_key="5@1")["vmon.target.executable"] == "/usr/sbin/httpd"
    assert "vmon.target.executable" not in fields(name="process.signal", target_key="9@9")


def test_a_rename_is_about_both_of_its_paths() -> None:
    found = fields(name="file.rename", path="/tmp/p", new_path="/etc/passwd")
    assert found["file.path"] == ["/tmp/p", "/etc/passwd"]
    assert found["file.name"] == ["p", "passwd"]
    assert found["file.directory"] == ["/tmp", "/etc"]
    assert "file.extension" not in found


def test_of_strangers_nothing_is_made_up() -> None:
    found = fields(name="file.open", pid=90, ppid=91, path="/a")
    assert not {name for name in found if name.startswith("process.parent.e")}
    assert (found["vmon.tree.entity_id"], found["vmon.tree.executable"]) == (["90@1"], [])
