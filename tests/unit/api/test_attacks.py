"""What somebody may try who should not get in, or should not get further; each is a line that holds."""

from __future__ import annotations

import asyncio
import hmac
import inspect
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.unit.api.conftest import Serve
from tests.unit.api.fakes import HOST, OPERATOR, VIEWER, Client, event
from vmon.api import gate, tokens
from vmon.api.app import ROWS
from vmon.api.sockets import open_socket, parse_listen
from vmon.core.errors import UsageError

VM = "/api/v1/vms/lab:web1"
KILL = f"{VM}/processes/42/kill"
BODY = {"key": "42@42000000"}


def session(client: Client, token: str = OPERATOR) -> tuple[dict[str, str], str]:
    """A browser's cookie, and its word against forged requests."""
    reply = client.ask("POST", "/session", {"token": token})
    assert reply.status == 200
    cookie = reply.headers["set-cookie"].partition(";")[0]
    return {"cookie": cookie}, reply.json["csrf"]


# Who asks.


@pytest.mark.parametrize(
    "path", ["/api/v1/guests", VM, f"{VM}/processes", f"{VM}/events", "/metrics", "/api/", KILL]
)
def test_without_a_token_nobody_gets_in(client: Client, path: str) -> None:
    client.token = None
    reply = client.get(path)
    assert reply.status == 401
    assert reply.headers["www-authenticate"].startswith("Bearer")
    assert client.vm.done == []


@pytest.mark.parametrize(
    "given",
    [
        "Bearer wrong",
        "Bearer ",
        "Bearer " + OPERATOR[:-1],
        "Bearer " + OPERATOR + "x",
        f"Basic {OPERATOR}",
        OPERATOR,
        "Bearer \xff\xfe",
    ],
)
def test_a_wrong_token_is_no_token(client: Client, given: str) -> None:
    assert client.get(VM, authorization=given).status == 401


def test_a_wrong_token_is_not_helped_by_a_cookie(client: Client) -> None:
    cookie, _ = session(client)
    assert client.ask("GET", VM, headers={**cookie, "authorization": "Bearer wrong"}).status == 401


def test_tokens_are_compared_in_constant_time_and_with_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []

    def compare(given: bytes, right: bytes) -> bool:
        seen.append(right)
        return hmac.compare_digest(given, right)

    monkeypatch.setattr(tokens, "hmac", type("fake", (), {"compare_digest": staticmethod(compare)}))
    found = tokens.Tokens({"operator": OPERATOR, "viewer": VIEWER})
    assert found.role_of(OPERATOR) == "operator"
    assert seen == [OPERATOR.encode(), VIEWER.encode()]
    assert "==" not in inspect.getsource(tokens.Tokens.role_of)
    assert "compare_digest" in inspect.getsource(gate.Gate._judge)


def test_wrong_tokens_run_out_and_the_right_one_is_taken_all_the_same(client: Client) -> None:
    client.app.failures._clock = lambda: 0.0  # a slow machine would be allowed more
    statuses = [client.get(VM, authorization="Bearer wrong").status for _ in range(15)]
    assert statuses[:10] == [401] * 10
    assert 429 in statuses[10:]
    assert client.get("/api/v1/whoami").status == 200
    client.token = None
    signs = [client.ask("POST", "/session", {"token": "wrong"}).status for _ in range(3)]
    assert 429 in signs


def test_too_many_requests_wait(client: Client) -> None:
    client.app._requests._clock = lambda: 0.0  # a slow machine would not run into it
    replies = [client.get("/healthz") for _ in range(600)]
    refused = [reply for reply in replies if reply.status == 429]
    assert refused
    assert all(int(reply.headers["retry-after"]) >= 1 for reply in refused)
    client.peer = ("127.0.0.2", 1)
    assert client.get("/healthz").status == 200


# What a viewer may not.


@pytest.mark.parametrize("row", [row for row in ROWS if row.role == "operator"], ids=lambda row: row.name)
def test_a_viewer_acts_on_nothing_and_reads_no_secrets(client: Client, row: Any) -> None:
    client.token = VIEWER
    path = row.path.replace("{vm}", "lab:web1").replace("{pid}", "42").replace("{number}", "1")
    reply = client.ask(row.method, path, BODY)
    assert (reply.status, reply.json["title"]) == (403, "NotYours")
    assert client.vm.done == []


@pytest.mark.parametrize(
    "path",
    ["file?where=/etc/shadow", "processes/42/exe", "processes/42/memory?address=0&size=1", "isf", "asks"],
)
def test_a_viewer_gets_no_content_and_no_asks(client: Client, path: str) -> None:
    client.token = VIEWER
    assert client.get(f"{VM}/{path}").status == 403


def test_a_viewer_answers_no_asks(client: Client) -> None:
    client.token = VIEWER
    assert client.ask("POST", f"{VM}/asks/x-1", {"answer": "allow"}).status == 403


def test_a_server_that_only_reads_changes_nothing(serve: Serve) -> None:
    client = serve(read_only=True)
    for row in ROWS:
        if row.changes:
            path = row.path.replace("{vm}", "lab:web1").replace("{pid}", "42").replace("{number}", "1")
            assert client.ask(row.method, path, BODY).json["title"] == "ReadOnly"
    assert client.get(f"{VM}/events").json["title"] == "ReadOnly"
    assert client.get(f"{VM}/asks").json["title"] == "ReadOnly"
    assert client.vm.done == []


# Pages of others.


def test_a_session_needs_its_word_for_what_changes_something(client: Client) -> None:
    cookie, csrf = session(client)
    assert client.ask("GET", VM, headers=cookie).status == 200
    for wrong in ({}, {"x-csrf-token": ""}, {"x-csrf-token": csrf[:-1]}, {"x-csrf-token": "\xff"}):
        assert client.ask("POST", KILL, BODY, {**cookie, **wrong}).json["title"] == "CrossSite"
    assert client.vm.done == []
    assert client.ask("POST", KILL, BODY, {**cookie, "x-csrf-token": csrf}).status == 200


def test_the_word_of_one_session_is_not_that_of_another(client: Client) -> None:
    cookie, _ = session(client)
    _, other = session(client)
    assert client.ask("POST", KILL, BODY, {**cookie, "x-csrf-token": other}).status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": f"https://{HOST}"},
        {"origin": "http://127.0.0.1:8644"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "origin": f"http://{HOST}"},
    ],
)
def test_a_page_of_another_site_can_do_nothing(client: Client, headers: dict[str, str]) -> None:
    cookie, csrf = session(client)
    assert client.ask("POST", KILL, BODY, {**cookie, "x-csrf-token": csrf, **headers}).status == 403
    assert client.ask("GET", VM, headers={**cookie, **headers}).status == 403
    assert client.ask("POST", "/session", {"token": OPERATOR}, headers).status == 403
    assert client.vm.done == []


def test_no_other_site_may_read_answers(client: Client) -> None:
    reply = client.ask(
        "OPTIONS", VM, headers={"origin": f"http://{HOST}", "access-control-request-method": "POST"}
    )
    assert reply.status == 405
    for each in (reply, client.get(VM)):
        assert not [name for name in each.headers if name.startswith("access-control-")]
        assert each.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_what_a_form_can_send_is_not_taken(client: Client, kind: str) -> None:
    assert client.ask("POST", KILL, BODY, {"content-type": kind}).status == 415
    assert client.vm.done == []


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8643",
        "127.0.0.1",
        "127.0.0.1:8644",
        "",
        "127.0.0.1:8643@evil",
        "localhost.evil:8643",
    ],
)
def test_a_name_that_is_not_ours_is_not_answered_to(client: Client, host: str) -> None:
    for path in ("/", "/healthz", VM):
        assert client.get(path, host=host).status == 421


def test_a_cookie_is_out_of_reach_of_scripts_and_other_sites(client: Client) -> None:
    reply = client.ask("POST", "/session", {"token": VIEWER})
    said = reply.headers["set-cookie"].lower()
    assert "httponly" in said
    assert "samesite=strict" in said
    assert "path=/" in said
    assert VIEWER not in said


def test_a_session_that_was_ended_is_over(client: Client) -> None:
    cookie, csrf = session(client)
    assert client.ask("DELETE", "/session", headers={**cookie, "x-csrf-token": "no"}).status == 403
    assert client.ask("DELETE", "/session", headers={**cookie, "x-csrf-token": csrf}).status == 204
    assert client.ask("GET", VM, headers=cookie).status == 401


@pytest.mark.parametrize(
    "cookie", ["vmon_session=x", "vmon_session=", "vmon_session=\xff", "a=b; =; vmon_session", ";" * 99]
)
def test_a_made_up_cookie_opens_nothing(client: Client, cookie: str) -> None:
    assert client.ask("GET", VM, headers={"cookie": cookie}).status == 401


# How it is asked.


@pytest.mark.parametrize(
    "path",
    [
        "/../app.py",
        "/..%2fapp.py",
        "/%2e%2e/gate.py",
        "//etc/passwd",
        "/page/../../tokens.py",
        "/..\\app.py",
        "/./index.html/../../app.py",
        "/\x00index.html",
        "/__init__.py",
    ],
)
def test_no_path_leads_out_of_the_page(client: Client, path: str) -> None:
    client.token = None
    assert client.get(path).status == 404


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"])
def test_a_method_is_what_it_is(client: Client, name: str) -> None:
    assert client.ask("GET", f"{VM}/probe", headers={name: "DELETE"}).json["active"] is False
    assert client.ask("POST", f"{VM}/probe?_method=DELETE", headers={name: "DELETE"}).status == 405
    assert client.vm.done == []


@pytest.mark.parametrize(
    "name", ["host", "authorization", "cookie", "origin", "content-length", "x-csrf-token"]
)
def test_a_second_header_of_a_kind_is_a_trick(client: Client, name: str) -> None:
    cookie, csrf = session(client)
    headers = {
        **cookie,
        "origin": f"http://{HOST}",
        "x-csrf-token": csrf,
        "content-length": "0",
        "authorization": f"Bearer {OPERATOR}",
    }
    assert client.ask("GET", VM, headers=headers, more=[(name.encode(), b"x")]).status == 400


def test_a_body_is_bounded_by_what_it_says_and_by_what_comes(client: Client) -> None:
    assert client.ask("POST", KILL, headers={"content-length": str(1 << 40)}).status == 413
    assert client.ask("POST", KILL, headers={"content-length": "-1"}).status == 413
    assert client.ask("POST", KILL, headers={"content-length": "9" * 5000}).status == 413
    piece = {"type": "http.request", "body": b"x" * 65536, "more_body": True}
    headers = {"content-type": "application/json"}
    assert client.ask("POST", KILL, headers=headers, raw=[piece] * 64).status == 413


def test_a_body_that_does_not_come_is_not_waited_for(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "BODY_S", 0.05)
    piece = {"type": "http.request", "body": b"{", "more_body": True}
    headers = {"content-type": "application/json"}
    assert client.ask("POST", KILL, headers=headers, raw=[piece]).status == 408


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"key": 1}',
        b'{"key": "x", "more": 1}',
        b"\xff",
        b"[" * 100_000,
        b'{"key": "a", "force": "yes"}',
    ],
)
def test_a_body_that_is_none_is_the_callers_fault(client: Client, body: bytes) -> None:
    reply = client.ask("POST", KILL, body)
    assert (reply.status, reply.json["title"]) == (400, "UsageError")
    assert client.vm.done == []


@pytest.mark.parametrize(
    "pid", ["0x2a", "-1", "99999999999999999999", "42 ", "٤٢", "4.2", "%34%32%00", "1e3"]
)
def test_a_pid_is_a_number(client: Client, pid: str) -> None:
    assert client.get(f"{VM}/processes/{pid}/files").status == 404


@pytest.mark.parametrize("vm", ["lab:web2", "pid:1", "qmp:%2fetc%2fpasswd", "dump:/etc/passwd", "..", "web1"])
def test_only_guests_of_this_server_are_reached(client: Client, vm: str) -> None:
    assert client.get(f"/api/v1/vms/{vm}/processes").status == 404


def test_a_line_end_in_what_is_asked_ends_no_header_and_no_event(client: Client) -> None:
    reply = client.get(f"{VM}/processes?fields=pid%0d%0aSet-Cookie:x=1")
    assert reply.status == 400
    assert "set-cookie" not in reply.headers
    assert b"\r\n" not in reply.body


def test_the_other_process_under_a_pid_is_not_hit(client: Client) -> None:
    reply = client.ask("POST", KILL, {"key": "42@1"})
    assert (reply.status, reply.json["title"]) == (404, "NoSuchProcess")
    for act in ("suspend", "resume", "quarantine", "release"):
        assert client.ask("POST", f"{VM}/processes/42/{act}", {"key": "42@1"}).status == 404
        assert client.ask("POST", f"{VM}/processes/42/{act}", {}).status == 400
    assert client.vm.done == []


# What a guest may say.


def test_text_of_a_guest_is_data(client: Client) -> None:
    reply = client.get(f"{VM}/processes")
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "script-src 'self'" in reply.headers["content-security-policy"]
    assert b"\x1b" not in reply.body
    assert not any(char < 0x20 for char in reply.body)
    names = [record["name"] for record in reply.json["records"]]
    assert "\\xff\x1b[31m\n" in names


def test_markup_and_line_ends_of_a_guest_stay_inside_the_data_of_an_event(client: Client) -> None:
    client.vm.probe_in = True
    stream = client.stream(f"{VM}/events?on=process.exec")
    hostile = "</script><img src=x onerror=alert(1)>\n\nevent: notice\ndata: {}\n\n\u2028\x9b\udcff"
    client.vm.fake_hub.subscriptions[0].put(event(path=hostile))
    client.vm.fake_hub.subscriptions[0].put(event(path="/next"))
    name, data, _ = stream.next()
    assert name == "event"
    assert data["path"] == hostile.replace("\udcff", "\\xff")
    assert stream.next()[1]["path"] == "/next"
    stream.close()


def test_no_answer_is_kept_by_a_browser_or_shown_in_a_frame(client: Client) -> None:
    for path in (VM, "/healthz", "/nothing", "/api/v1/nothing"):
        headers = client.get(path).headers
        assert headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert "server" not in headers


# Slow and many.


def test_a_client_that_takes_nothing_is_let_go(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "SEND_S", 0.05)

    async def stuck() -> None:
        first = True

        async def receive() -> dict[str, Any]:
            nonlocal first
            if not first:
                await asyncio.Event().wait()
            first = False
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                await asyncio.Event().wait()

        scope = client.scope("GET", f"{VM}/processes/stream", {})
        await asyncio.wait_for(client.app(scope, receive, send), 20)

    client.run(stuck())
    assert client.hosted.streams.count == 0


def test_a_client_that_is_slow_loses_events_and_is_told(client: Client) -> None:
    client.vm.probe_in = True
    stream = client.stream(f"{VM}/events?on=process.exec")
    told = client.hosted.feeds(client.run(client.hosted.pool.get("lab:web1"))).events._told
    for number in range(20_000):
        told.put("event", b"{}", event(sequence=number))
    first = stream.next()
    assert first[0] == "lost"
    assert first[1]["count"] >= 20_000 - 16_384
    stream.close()


def test_one_client_opens_so_many_streams(client: Client) -> None:
    streams = [client.stream(f"{VM}/processes/stream") for _ in range(24)]
    assert client.get(f"{VM}/processes/stream").status == 429
    streams.pop().close()
    streams.append(client.stream(f"{VM}/processes/stream"))
    for each in streams:
        each.close()
    assert client.hosted.streams.count == 0


# The host.


def test_a_token_file_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    tokens.write_tokens(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for mode in (0o640, 0o604, 0o620, 0o602):
        file.chmod(mode)
        with pytest.raises(UsageError, match="others may read"):
            tokens.read_tokens(file)
    file.chmod(0o600)
    link = tmp_path / "link"
    link.symlink_to(file)
    tokens.read_tokens(link)
    file.chmod(0o644)
    with pytest.raises(UsageError, match="others may read"):
        tokens.read_tokens(link)


def test_a_token_file_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "there")
    with pytest.raises(UsageError):
        tokens.write_tokens(tmp_path / "link")
    assert not (tmp_path / "there").exists()


def test_a_pipe_is_no_token_file_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(UsageError, match="no plain file"):
        tokens.read_tokens(tmp_path / "pipe")


def test_a_socket_file_is_ours_alone_from_the_first_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s"
    seen: list[int] = []
    listen = socket.socket.listen

    def noting(made: socket.socket, backlog: int) -> None:
        seen.append(stat.S_IMODE(path.stat().st_mode))
        listen(made, backlog)

    monkeypatch.setattr(socket.socket, "listen", noting)
    old = os.umask(0)
    try:
        open_socket(parse_listen(f"unix:{path}")).close()
    finally:
        os.umask(old)
    assert seen == [0o600]


def test_a_file_that_is_no_socket_is_not_replaced(tmp_path: Path) -> None:
    precious = tmp_path / "file"
    precious.write_text("x")
    with pytest.raises(UsageError, match="something else"):
        open_socket(parse_listen(f"unix:{precious}"))
    (tmp_path / "link").symlink_to(precious)
    with pytest.raises(UsageError, match="something else"):
        open_socket(parse_listen(f"unix:{tmp_path / 'link'}"))
    assert precious.read_text() == "x"
