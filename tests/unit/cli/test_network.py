from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from vmon.cli import attached, cli
from vmon.core.coverage import Answer, GapRecord
from vmon.core.records.network import (
    AddressRecord,
    InterfaceRecord,
    NeighbourRecord,
    PortRecord,
    RouteRecord,
)

GAP = GapRecord(what="other network namespaces", reason="not looked for", count=1, detail="22")


def port(**values: object) -> PortRecord:
    plain: dict[str, object] = {
        "protocol": "tcp", "family": "inet6", "address": "::", "port": 80, "interface": None, "pid": 5,
        "process": "httpd", "uid": 33, "exe": "/bin/httpd", "kernel": False, "net_namespace": 11, "inode": 9, "sock": 8,
    }  # fmt: skip
    return PortRecord(**{**plain, **values})  # type: ignore[arg-type]


def route(**values: object) -> RouteRecord:
    plain: dict[str, object] = {
        "family": "inet", "destination": "0.0.0.0", "prefix_length": 0, "source": None, "type": "unicast",
        "table": "main", "gateway": "10.0.0.1", "interface": "eth0", "weight": 1, "metric": 5, "protocol": "dhcp",
        "scope": "global", "preferred_source": None, "flags": ["onlink"], "net_namespace": 11,
    }  # fmt: skip
    return RouteRecord(**{**plain, **values})  # type: ignore[arg-type]


class Machine:
    """Answers every question with a few records, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, object]] = []

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ports(self, **chosen: object) -> Answer[PortRecord]:
        self.asked.append(chosen)
        nobody = {"pid": None, "process": None, "exe": None, "uid": 0}
        return Answer(
            [
                port(),
                port(**nobody, family="inet", address="127.0.0.1", interface="lo", port=99),
                port(**nobody, kernel=True, protocol="udp", family="inet", address="0.0.0.0", port=51820),
            ]
        )

    def interfaces(self, **chosen: object) -> Answer[InterfaceRecord]:
        self.asked.append(chosen)
        address = AddressRecord(
            family="inet",
            address="10.0.0.5",
            prefix_length=24,
            peer=None,
            scope="global",
            flags=[],
            label="eth0",
        )
        one = InterfaceRecord(
            name="eth\x1b0", index=2, type="ether", kind=None, mac="aa:bb:cc:00:01:02", mtu=1500,
            flags=["UP", "PROMISC"], promiscuity=1, operstate="up", master=None, qdisc="fq", tx_queue_length=1000,
            addresses=[address, address], rx_bytes=2048, rx_packets=3, tx_bytes=None, tx_packets=None,
            net_namespace=11, device=8,
        )  # fmt: skip
        return Answer([one], [GAP])

    def routes(self, **chosen: object) -> Answer[RouteRecord]:
        self.asked.append(chosen)
        six = {"family": "inet6", "destination": "fd00::", "gateway": None, "scope": None, "flags": []}
        return Answer([route(), route(**six, prefix_length=64), route(**six, source="fd01::/48")])

    def neighbours(self, **chosen: object) -> Answer[NeighbourRecord]:
        self.asked.append(chosen)
        return Answer()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(attached, "attach", lambda target: made)
    return made


def run(*words: str) -> Result:
    done = CliRunner().invoke(cli, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    return done


def cells(done: Result) -> list[list[str]]:
    return [line.split() for line in done.stdout.splitlines()[1:]]


def test_ports_and_those_that_no_process_holds(machine: Machine) -> None:
    assert cells(run("ports", "x", "--namespace", "11")) == [
        ["tcp6", "[::]:80", "11", "5", "httpd", "33", "/bin/httpd"],
        ["tcp", "127.0.0.1:99%lo", "11", "-", "(no", "process)", "0", "-"],
        ["udp", "0.0.0.0:51820", "11", "-", "(kernel)", "0", "-"],
    ]
    assert machine.asked == [{"namespace": 11}]


def test_interfaces(machine: Machine) -> None:
    done = run("interfaces", "x")
    (line,) = done.stdout.splitlines()[1:]
    for word in ("eth\\x1b0", "ether", "UP,PROMISC", "10.0.0.5/24, 10.0.0.5/24", "2.0 KiB"):
        assert word in line
    assert done.stderr == "not seen: other network namespaces: not looked for (22)\n"
    whole = json.loads(run("interfaces", "x", "--all-namespaces", "-o", "json").stdout)
    assert whole["records"][0]["addresses"][0]["prefix_length"] == 24
    assert machine.asked == [
        {"namespace": None, "all_namespaces": False},
        {"namespace": None, "all_namespaces": True},
    ]


def test_routes(machine: Machine) -> None:
    rows = cells(run("routes", "x", "--namespace", "22"))
    assert [row[:5] for row in rows] == [
        ["main", "unicast", "default", "10.0.0.1", "eth0"],
        ["main", "unicast", "fd00::/64", "-", "eth0"],
        ["main", "unicast", "fd00::/0", "from", "fd01::/48"],
    ]
    assert machine.asked == [{"namespace": 22, "all_namespaces": False}]


def test_no_neighbour_is_said(machine: Machine) -> None:
    done = run("neighbours", "x")
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == "the namespace has no neighbour\n"
    assert machine.asked
