from __future__ import annotations

from tests.unit.cli.conftest import Run


def test_the_table(run: Run) -> None:
    rows = [line.split() for line in run("sockets", "x").stdout.splitlines()]
    assert rows[0] == ["PROTO", "STATE", "LOCAL", "REMOTE", "PID", "FD", "PROCESS"]
    assert rows[1] == ["tcp", "LISTEN", "127.0.0.1:8080", "0.0.0.0:*", "1", "3", "init"]
    assert rows[2] == ["udp6", "NONE", "[::1]:8080", "[2001:db8::99]:443", "1", "4", "init"]
    assert rows[3] == ["unix", "stream", "LISTEN", "/run/x.sock", "-", "1", "5", "init"]
    assert rows[4][3] == "@bus\\xff"
    none = run("sockets", "x", "42")
    assert len(none.stdout.splitlines()) == 1
    assert none.stderr == "process 42 holds no socket\n"
