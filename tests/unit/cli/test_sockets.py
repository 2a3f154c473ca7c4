from __future__ import annotations

import pytest

from tests.unit.cli.conftest import Run
from vmon.cli.sockets import holder, row
from vmon.core.errors import UsageError
from vmon.core.records.process import SocketRecord


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


def record(**values: object) -> SocketRecord:
    plain: dict[str, object] = {
        "pid": None, "fd": None, "process": None, "family": "unix", "type": "stream", "protocol": "",
        "local_address": "", "local_port": None, "remote_address": "", "remote_port": None, "state": "ESTABLISHED",
        "path": "", "inode": 7, "net_namespace": 1,
    }  # fmt: skip
    return SocketRecord(**{**plain, **values})  # type: ignore[arg-type]


def test_who_holds_a_socket() -> None:
    assert holder(record(pid=5, process="a")) == "a"
    assert holder(record()) == "(no process)"
    assert holder(record(kernel=True)) == "(kernel)"
    # TIME_WAIT, or not yet accepted: nobody can.
    assert holder(record(inode=0)) is None


def test_the_other_end_of_a_unix_socket_and_what_others_are_bound_to() -> None:
    assert row(record(peer_inode=9, peer_pid=4, peer_process="b"))[3] == "9 b[4]"
    assert row(record(peer_inode=9))[3] == "9"
    assert row(record(peer_inode=0))[3] == "?"
    assert row(record())[3] is None
    assert row(record(family="netlink", protocol="route", portid=77))[:3] == (
        "netlink route", "ESTABLISHED", "77",
    )  # fmt: skip
    assert row(record(family="packet", type="raw", protocol="all", interface="eth0"))[0] == "packet all"
    assert row(record(family="packet", type="raw", interface="eth0"))[2] == "eth0"
    icmp = record(family="inet6", protocol="icmpv6", local_address="::", local_port=58)
    assert row(icmp)[0] == "icmpv6"


def test_one_process_or_all_sockets(run: Run) -> None:
    with pytest.raises(UsageError, match="not for one process"):
        run("sockets", "x", "1", "--all")
    assert [line.split()[4:6] for line in run("sockets", "x", "1").stdout.splitlines()[1:3]] == [
        ["1", "3"],
        ["1", "4"],
    ]
