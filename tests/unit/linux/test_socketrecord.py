from __future__ import annotations

from tests.unit.linux.sockets import Sockets
from vmon.linux.socket import SocketState
from vmon.linux.socketrecord import SocketRecords, socket_path


def state(**values: object) -> SocketState:
    plain: dict[str, object] = {
        "family": "inet", "type": "dgram", "protocol": "udp", "state": "NONE", "local_address": "0.0.0.0",
        "local_port": 53, "remote_address": "0.0.0.0", "remote_port": 0, "path": b"", "peer": 0, "sock": 8,
    }  # fmt: skip
    return SocketState(**{**plain, **values})  # type: ignore[arg-type]


def test_a_socket_name_for_people() -> None:
    assert socket_path(b"/run/a") == "/run/a"
    assert socket_path(b"\0a\0b") == "@a@b"
    assert socket_path(b"") == ""


def test_names_of_interfaces_are_those_of_its_namespace() -> None:
    small = Sockets()
    states = [state(interface_index=2, net=small.first), state(interface_index=2, net=small.other)]
    states += [state(interface_index=9, net=small.other), state(net=small.other), state(interface_index=2)]
    records = SocketRecords(small.kernel(), states, {})
    seen = [records.record(one, 5, namespace=77) for one in states]
    assert [one.interface for one in seen] == ["eth0", "tun\udcff", "#9", None, "#2"]
    assert [one.net_namespace for one in seen] == [11, 22, 22, 22, 77]


def test_a_peer_that_is_nowhere() -> None:
    small = Sockets()
    states = [state(family="unix", peer=0xFFFF_C900_0000_0000), state(family="unix", path=b"\0x")]
    records = SocketRecords(small.kernel(), states, {8: (1, "one")})
    lost, named = (records.record(one, 5, (7, 3, "two")) for one in states)
    assert (lost.peer_inode, lost.peer_pid, lost.pid, lost.process) == (0, None, 7, "two")
    assert (named.peer_inode, named.path) == (None, "@x")
