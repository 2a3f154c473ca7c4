from __future__ import annotations

import pytest

from tests.unit.api.conftest import Serve
from tests.unit.api.fakes import VIEWER, Client
from vmon.api.app import ROWS, our_version


def test_guests_and_who_asks(client: Client) -> None:
    (guest,) = client.get("/api/v1/guests").json["records"]
    assert (guest["vm"], guest["accel"], guest["attached"]) == ("lab:web1", "kvm", False)
    client.token = VIEWER
    assert client.get("/api/v1/whoami").json == {
        "role": "viewer",
        "how": "token",
        "csrf": None,
        "read_only": False,
        "version": our_version(),
    }


def test_health_is_for_everybody(client: Client) -> None:
    client.token = None
    assert client.get("/healthz").json["status"] == "ok"


def test_what_is_not_there_is_a_problem(client: Client) -> None:
    for method, path, status in (
        ("GET", "/api/v1/nothing", 404),
        ("POST", "/api/v1/guests", 405),
        ("PATCH", "/healthz", 405),
    ):
        reply = client.ask(method, path)
        assert reply.status == status
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json["status"] == status


def test_a_fault_of_vmon_says_its_kind_and_no_more(client: Client) -> None:
    def fail() -> object:
        raise ZeroDivisionError("secret of the host")

    client.vm.modules = fail  # type: ignore[method-assign, assignment]
    with pytest.raises(ZeroDivisionError):
        client.get("/api/v1/vms/lab:web1/modules")


def test_names_of_operations_are_their_own() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert len({(row.method, row.path) for row in ROWS}) == len(ROWS)


def test_a_socket_of_this_host_makes_an_operator(serve: Serve) -> None:
    client = serve(tokens=None, hosts=None)
    client.peer = None
    assert client.get("/api/v1/whoami", host="vmon").json["role"] == "operator"
    assert client.ask("PUT", "/api/v1/vms/lab:web1/probe").status == 200
