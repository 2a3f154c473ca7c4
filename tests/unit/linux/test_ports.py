from __future__ import annotations

import pytest

from vmon.core.records.process import SocketRecord
from vmon.linux.ports import listening, listens


def socket(protocol: str = "tcp", state: str = "LISTEN", **values: object) -> SocketRecord:
    plain: dict[str, object] = {
        "pid": 5, "fd": 3, "process": "httpd", "family": "inet", "type": "stream", "local_address": "0.0.0.0",
        "local_port": 80, "remote_address": "0.0.0.0", "remote_port": 0, "path": "", "inode": 9,
        "net_namespace": 1, "sock": 8, "uid": 99,
    }  # fmt: skip
    return SocketRecord(protocol=protocol, state=state, **{**plain, **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "does"),
    [
        (socket(), True),
        (socket(state="ESTABLISHED"), False),
        (socket("udp", "NONE"), True),
        (socket("udp", "ESTABLISHED", remote_port=53), False),
        (socket("udp", "NONE", local_port=0), False),
        (socket("icmp", "NONE"), False),
        (socket("route", "LISTEN", local_port=None), False),
    ],
)
def test_what_listens(one: SocketRecord, does: bool) -> None:
    assert listens(one) is does


def test_each_process_once_lowest_port_first() -> None:
    sockets = [
        socket(sock=1, local_port=443, pid=6),
        socket(sock=1, local_port=443, pid=6, fd=9),
        socket(sock=1, local_port=443, pid=5),
        socket(sock=2, local_port=80, pid=None, process=None),
        socket("udp", "NONE", sock=3, local_port=1),
    ]
    found = listening(sockets, lambda pid: (pid + 1000, f"/bin/{pid}"))
    assert [(port.protocol, port.port, port.pid, port.uid, port.exe) for port in found] == [
        ("tcp", 80, None, 99, None),
        ("tcp", 443, 5, 1005, "/bin/5"),
        ("tcp", 443, 6, 1006, "/bin/6"),
        ("udp", 1, 5, 1005, "/bin/5"),
    ]
