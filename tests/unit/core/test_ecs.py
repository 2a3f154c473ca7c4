from __future__ import annotations

from typing import Any

from vmon.core import ecs
from vmon.core.events import Event
from vmon.probe.hooks import EVENTS


def event(kind: str, **more: Any) -> Event:
    common = {"sequence": 7, "time_ns": 5, "key": "42@9", "pid": 42, "tid": 43, "ppid": 1, "uid": 1000}
    common |= {"euid": 0, "gid": 100, "name": "sh", "cpu": 1, "cgroup_id": 3}
    return Event(event=kind, **(common | more))


def test_every_event_of_the_probe_has_its_place() -> None:
    assert set(ecs.KINDS) == {kind.name for kind in EVENTS}


def test_who_did_it() -> None:
    found = ecs.fields(event("process.fork", exe="/bin/sh", target_pid=50, target_key="50@10"))
    assert found["process.entity_id"] == "42@9"
    assert (found["process.pid"], found["process.thread.id"], found["process.parent.pid"]) == (42, 43, 1)
    assert (found["user.id"], found["user.effective.id"], found["group.id"]) == ("1000", "0", "100")
    assert (found["process.name"], found["process.executable"]) == ("sh", "/bin/sh")
    assert (found["vmon.target.pid"], found["vmon.target.entity_id"]) == (50, "50@10")
    assert (found["event.category"], found["event.type"], found["event.action"]) == (
        ["process"],
        ["start"],
        "fork",
    )
    assert found["event.outcome"] == "success"


def test_what_was_not_there_is_left_out() -> None:
    found = ecs.fields(event("process.fork"))
    assert not {
        "process.executable",
        "container.id",
        "vmon.rule",
        "vmon.errno",
        "vmon.cut",
        "vmon.ask",
    } & set(found)


def test_what_was_refused() -> None:
    found = ecs.fields(event("file.open", path="/etc/shadow", verdict="denied", errno=13, rule=4))
    assert (found["event.outcome"], found["event.type"]) == ("failure", ["access", "denied"])
    assert (found["vmon.errno"], found["vmon.rule"]) == (13, 4)


def test_paths() -> None:
    found = ecs.fields(event("file.open", path="/var/log/a.tar.gz"))
    assert (found["file.path"], found["file.name"]) == ("/var/log/a.tar.gz", "a.tar.gz")
    assert (found["file.directory"], found["file.extension"]) == ("/var/log", "gz")
    assert ecs.fields(event("file.open", path="/.profile"))["file.directory"] == "/"
    assert "file.extension" not in ecs.fields(event("file.open", path="/.profile"))
    assert "file.directory" not in ecs.fields(event("net.connect", path="@abstract"))


def test_ends_and_command_lines() -> None:
    assert ecs.fields(event("process.exit", exit_code=3 << 8))["process.exit_code"] == 3
    assert ecs.fields(event("process.exit", exit_code=9))["process.exit_code"] == 137
    found = ecs.fields(event("process.exec", cmdline=["ls", "-l"]))
    assert (found["process.command_line"], found["process.args"]) == ("ls -l", ["ls", "-l"])


def test_connections() -> None:
    far = {"family": "inet", "protocol": "tcp", "address": "10.0.2.2", "port": 80}
    found = ecs.fields(event("net.connect", **far))
    assert (found["destination.ip"], found["destination.port"], found["network.type"]) == (
        "10.0.2.2",
        80,
        "ipv4",
    )
    assert found["network.transport"] == "tcp"
    assert ecs.fields(event("net.bind", **far))["source.port"] == 80
    assert "network.type" not in ecs.fields(event("net.connect", family="unix", path="/run/x"))


def test_every_name_is_told() -> None:
    given = dict.fromkeys(
        ("path", "new_path", "family", "protocol", "address", "exe", "container_id"), "inet"
    )
    numbers = dict.fromkeys(
        ("port", "mode", "flags", "signal", "exit_code", "new_uid", "new_euid", "new_gid"), 1
    )
    whole = event(
        "net.connect", cmdline=["a"], target_pid=1, target_key="k", rule=1, ask=1, errno=1, cut=True
    )
    whole = type(whole)(**({n: getattr(whole, n) for n in whole.__struct_fields__} | given | numbers))
    found = set(ecs.fields(whole)) | set(ecs.fields(event("net.bind", address="::", port=1)))
    found |= set(ecs.fields(event("file.open", path="/a/b.c", flags=0)))
    assert ecs.NAMES - found == {*ecs.PARENT, *ecs.OTHERS}
    assert found <= ecs.NAMES


def test_before_an_exec_the_program_is_the_new_one() -> None:
    found = ecs.fields(event("process.exec", path="/tmp/x", exe="/bin/sh"))
    assert found["process.executable"] == "/tmp/x"
    assert found["process.previous.executable"] == "/bin/sh"
    found = ecs.fields(event("process.exec", path="/tmp/x", exe="/tmp/x", cmdline=["x"]))
    assert found["process.executable"] == "/tmp/x"
    assert "process.previous.executable" not in found


def test_an_open_that_may_write() -> None:
    assert ecs.fields(event("file.open", path="/a", flags=0o100000))["vmon.write"] == 0
    assert ecs.fields(event("file.open", path="/a", flags=0o100001))["vmon.write"] == 1
    assert "vmon.write" not in ecs.fields(event("file.mmap_exec", path="/a", flags=1))


def test_nested() -> None:
    assert ecs.nested({"process.pid": 1, "process.parent.pid": 2, "user.id": "0"}) == {
        "process": {"pid": 1, "parent": {"pid": 2}},
        "user": {"id": "0"},
    }
