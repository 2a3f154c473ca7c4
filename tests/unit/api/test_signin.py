from __future__ import annotations

from tests.unit.api.conftest import Serve
from tests.unit.api.fakes import VIEWER, Client


def test_a_token_becomes_a_session(client: Client) -> None:
    client.token = None
    reply = client.ask("POST", "/session", {"token": VIEWER})
    assert reply.json["role"] == "viewer"
    cookie = {"cookie": reply.headers["set-cookie"].partition(";")[0]}
    who = client.ask("GET", "/api/v1/whoami", headers=cookie).json
    assert (who["role"], who["how"], who["csrf"]) == ("viewer", "session", reply.json["csrf"])


def test_a_wrong_token_becomes_none(client: Client) -> None:
    client.token = None
    reply = client.ask("POST", "/session", {"token": "x"})
    assert reply.status == 401
    assert "set-cookie" not in reply.headers
    assert client.ask("DELETE", "/session").status == 204


def test_where_nobody_needs_a_token_there_is_nothing_to_sign_in_with(serve: Serve) -> None:
    client = serve(tokens=None, hosts=None)
    assert client.get("/api/v1/whoami", host="whatever").json["how"] == "socket"
    assert client.ask("POST", "/session", {"token": VIEWER}).status == 401
