from __future__ import annotations

from tests.unit.monitor.sigma.made import event, known
from vmon.monitor.sigma.fields import asked_for, users_of


def test_parents_that_were_there_before() -> None:
    start = {"name": "process.exec", "exe": "/bin/a", "cmdline": ["a", "b"]}
    found = asked_for(event(20, ppid=1, **start), known(), {})
    assert found["process.parent.executable"] == "/sbin/init"
    assert found["process.parent.command_line"] == "init -x"
    assert found["process.command_line"] == "a b"
    found = asked_for(event(20, ppid=9, name="file.unlink"), known(), {})
    assert (found["process.parent.executable"], found["process.parent.command_line"]) == (
        "/bin/\udcff",
        "\udcfe",
    )
    for unknown in (2, 77):
        assert "process.parent.executable" not in asked_for(event(20, ppid=unknown, **start), known(), {})


def test_a_process_has_its_command_line_in_all_that_it_does() -> None:
    there = known()
    assert asked_for(event(1, name="net.connect"), there, {})["process.command_line"] == "init -x"
    assert "process.command_line" not in asked_for(event(1, name="process.exec", path="/bin/a"), there, {})
    assert "process.command_line" not in asked_for(event(77, name="file.open"), there, {})


def test_a_program_that_is_started_without_arguments() -> None:
    found = asked_for(event(1, name="process.exec", path="/bin/a", exe="/sbin/init"), known(), {})
    assert found["process.executable"] == "/bin/a"


def test_a_renamed_file_is_the_old_one() -> None:
    found = asked_for(event(1, name="file.rename", path="/a/old.txt", new_path="/b/new"), known(), {})
    assert (found["file.path"], found["vmon.new_path"]) == ("/a/old.txt", "/b/new")
    assert (found["file.name"], found["file.directory"], found["file.extension"]) == ("old.txt", "/a", "txt")


def test_users() -> None:
    good = "root:x:0:0::/:/bin/sh\nwww:x:33:33:::\nagain:x:33:1::\nadmin:x:0:0\n"
    text = f"{good}odd\n:x:5:\nbad:x:y:\nlong:x:12345678901:\n"
    assert users_of(text) == {0: "root", 33: "www"}
    assert users_of("toor:x:0:0") == {0: "root"}
    assert asked_for(event(1, uid=33), known(), users_of(text))["user.name"] == "www"
    assert "user.name" not in asked_for(event(1, uid=34), known(), users_of(text))
