"""A real server that fails, is slow, resets, refuses: what arrives, how often, and what is counted."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.unit.export.told import ORIGIN, event
from vmon.core.errors import NotSupported
from vmon.export.jsonl import encode
from vmon.sinks.queue import Queue
from vmon.sinks.webhook import LONGEST_WAIT_S, TOKEN_VARIABLE, WebhookWriter, _asked_for
from vmon.sinks.writer import Refused, Undelivered

PATIENCE_S = 60.0


class Server:
    """Answers by a plan: a status, `reset`, `slow`; then 200 for ever."""

    def __init__(self) -> None:
        self.plan: list[Any] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.headers.append(dict(self.headers))
                answer = server.plan.pop(0) if server.plan else 200
                if answer == "reset":
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                    self.close_connection = True
                    return
                if answer == "slow":
                    time.sleep(1.5)
                    answer = 200
                if answer == 200:
                    server.bodies.append(body)
                self.send_response(answer)
                if answer == 429:
                    self.send_header("Retry-After", "0")
                if answer == 302:
                    self.send_header("Location", "http://127.0.0.1:1/")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/in"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def sequences(self) -> list[int]:
        return [json.loads(line)["sequence"] for body in self.bodies for line in body.splitlines()]


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.http.shutdown()
    found.http.server_close()


def writer(server: Server, timeout_s: float = 10.0) -> WebhookWriter:
    return WebhookWriter(server.url, "hook", "application/x-ndjson", timeout_s=timeout_s)


def test_a_batch_is_a_post(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "word")
    hook = writer(server)
    hook.write([b'{"a":1}', b'{"a":2}'])
    hook.idle()
    hook.close()
    assert server.bodies == [b'{"a":1}\n{"a":2}\n']
    headers = server.headers[0]
    assert headers["Content-Type"] == "application/x-ndjson"
    assert headers["Authorization"] == "Bearer word"
    assert headers["User-Agent"].startswith("vmon/")


def test_the_same_batch_has_the_same_key(server: Server) -> None:
    server.plan = [500, 200, 200]
    hook = writer(server)
    batch = [b"{}"]
    with pytest.raises(Undelivered, match="hook: 500"):
        hook.write(batch)
    hook.write(batch)
    hook.write([b"{}"])
    hook.close()
    first, again, other = [headers["Idempotency-Key"] for headers in server.headers]
    assert first == again != other


@pytest.mark.parametrize("status", [400, 401, 404, 413, 302])
def test_what_is_final(server: Server, status: int) -> None:
    server.plan = [status]
    hook = writer(server)
    with pytest.raises(Refused, match=str(status)):
        hook.write([b"{}"])
    hook.close()
    assert server.bodies == []


def test_how_long_a_server_asks_to_wait(server: Server) -> None:
    server.plan = [429]
    hook = writer(server)
    with pytest.raises(Undelivered) as caught:
        hook.write([b"{}"])
    hook.close()
    assert caught.value.wait_s == 0.0
    assert _asked_for("7") == 7.0
    assert _asked_for("86400") == LONGEST_WAIT_S
    assert _asked_for("Wed, 21 Oct 2015 07:28:00 GMT") is None
    assert _asked_for(None) is None


def test_all_arrives_by_a_server_that_fails_and_resets_and_sleeps(server: Server) -> None:
    server.plan = [500, "reset", 503, 429, "reset"]
    out = Queue("hook", "jsonl", encode, writer(server), chance=lambda: 0.0)
    for number in range(2000):
        out.put(event(sequence=number), ORIGIN)
    deadline = time.monotonic() + PATIENCE_S
    while out.counts().waiting and time.monotonic() < deadline:
        time.sleep(0.02)
    found = out.close()
    assert server.sequences() == list(range(2000))
    assert (found.delivered, found.dropped, found.retried) == (2000, 0, 5)


def test_one_that_is_too_slow_may_get_it_twice(server: Server) -> None:
    server.plan = ["slow"]
    out = Queue("hook", "jsonl", encode, writer(server, timeout_s=0.5), chance=lambda: 0.0)
    out.put(event(sequence=1), ORIGIN)
    deadline = time.monotonic() + PATIENCE_S
    while out.counts().waiting and time.monotonic() < deadline:
        time.sleep(0.02)
    found = out.close()
    assert found.delivered == 1 and found.retried >= 1
    assert set(server.sequences()) == {1}
    assert len({headers["Idempotency-Key"] for headers in server.headers}) == 1


def test_loss_is_counted(server: Server) -> None:
    server.plan = [413]
    out = Queue("hook", "jsonl", encode, writer(server), chance=lambda: 0.0)
    for number in range(700):
        out.put(event(sequence=number), ORIGIN)
    found = out.close(PATIENCE_S)
    assert found.dropped > 0 and found.dropped + found.delivered == 700
    assert len(server.sequences()) == found.delivered
    assert "413" in found.last_error


def test_https_trusts_whom_it_is_told_to(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server.http.socket = context.wrap_socket(server.http.socket, server_side=True)
    url = f"https://localhost:{server.http.server_address[1]}/in"
    stranger = WebhookWriter(url, "hook", "text/plain")
    with pytest.raises(Undelivered, match=r"(?i)certificate"):
        stranger.write([b"{}"])
    stranger.close()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    friend = WebhookWriter(url, "hook", "text/plain")
    friend.write([b"{}"])
    friend.close()
    assert server.bodies == [b"{}\n"]


def test_nobody_there() -> None:
    hook = WebhookWriter("http://127.0.0.1:1/", "hook", "text/plain")
    with pytest.raises(Undelivered, match="hook: ConnectError"):
        hook.write([b"{}"])
    hook.close()


def test_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(NotSupported) as caught:
        WebhookWriter("http://127.0.0.1:1/", "hook", "text/plain")
    assert caught.value.hint == "pip install 'vmon[outputs]'"
