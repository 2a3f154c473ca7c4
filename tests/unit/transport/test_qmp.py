"""Sockets that are not a free QMP monitor: each kind says what it is."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from vmon.core.errors import TargetBusy, TargetDenied, TargetError, TargetGone, TargetNotFound
from vmon.transport.guests import knock
from vmon.transport.qemu import qmp

VERSION = b'{"qemu": {"micro": 1, "minor": 2, "major": 9}, "package": ""}'
GREETING = b'{"QMP": {"version": ' + VERSION + b', "capabilities": []}}\r\n'


def serve(listener: socket.socket, *answers: bytes) -> threading.Thread:
    """Accept one client, send the first text, then one more for each message that comes."""

    def run() -> None:
        client, _ = listener.accept()
        with client, suppress(OSError):
            client.sendall(answers[0])
            for answer in answers[1:]:
                if not client.recv(4096):
                    return
                client.sendall(answer)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_no_socket(tmp_path: Path) -> None:
    with pytest.raises(TargetNotFound, match="no socket") as caught:
        qmp.QmpConnection(str(tmp_path / "none"))
    assert "vmon guests" in caught.value.hint


def test_not_a_socket(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(TargetNotFound, match="can't be connected"):
        qmp.QmpConnection(str(tmp_path / "file"))


def test_a_socket_left_behind(listener: socket.socket) -> None:
    path = listener.getsockname()
    listener.close()
    with pytest.raises(TargetGone, match="nobody listens"):
        qmp.QmpConnection(path)


def test_a_socket_that_nobody_listens_on_yet(tmp_path: Path) -> None:
    """A QEMU that starts binds its socket before it listens."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
        later = threading.Timer(0.03, sock.listen)
        later.start()
        qmp.connect(str(tmp_path / "s")).close()
        later.join()


def test_no_greeting_is_busy(listener: socket.socket) -> None:
    with pytest.raises(TargetBusy, match="another client holds"):
        qmp.QmpConnection(listener.getsockname(), greeting_seconds=0.05)


def test_a_full_queue_is_busy(listener: socket.socket) -> None:
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as two:
        one.connect(listener.getsockname())
        two.connect(listener.getsockname())
        with pytest.raises(TargetBusy):
            qmp.connect(listener.getsockname(), seconds=0.05)


def test_a_queue_that_drains_is_waited_for(listener: socket.socket) -> None:
    path = listener.getsockname()
    gone = [socket.socket(socket.AF_UNIX) for _ in range(2)]
    for client in gone:
        client.connect(path)
        client.close()

    def drain() -> None:
        time.sleep(0.1)
        for _ in gone:
            listener.accept()[0].close()

    thread = threading.Thread(target=drain, daemon=True)
    thread.start()
    qmp.connect(path).close()
    thread.join()


def test_hung_up_at_once(listener: socket.socket) -> None:
    thread = serve(listener, b"")
    with pytest.raises(TargetGone):
        qmp.QmpConnection(listener.getsockname())
    thread.join()


def test_another_protocol(listener: socket.socket) -> None:
    serve(listener, b"QEMU 7.2.22 monitor - type 'help' for more information\r\n(qemu) ", b"")
    with pytest.raises(TargetError, match="does not speak QMP"):
        qmp.QmpConnection(listener.getsockname())


@pytest.mark.parametrize("greeting", [b'{"hello": 1}\n', b"{nonsense\n", b"[1]\n", b'{"QMP": 5}\n'])
def test_a_greeting_that_is_none(listener: socket.socket, greeting: bytes) -> None:
    serve(listener, greeting, b"")
    with pytest.raises(TargetError):
        qmp.QmpConnection(listener.getsockname())


def test_hung_up_after_the_greeting(listener: socket.socket) -> None:
    serve(listener, GREETING, b'{"return": {}}\r\n', b"")
    connection = qmp.QmpConnection(listener.getsockname())
    assert connection.qemu_version == "9.2.1" and connection.peer_pid == os.getpid()
    with pytest.raises(TargetGone):
        connection.execute("query-status")
    connection.close()
    with pytest.raises(TargetGone):
        connection.execute("query-status")


def test_a_refused_command(listener: socket.socket) -> None:
    refusal = b'{"id": "__qmp#00000", "error": {"class": "CommandNotFound", "desc": "no such command"}}\r\n'
    serve(listener, GREETING, b'{"return": {}}\r\n', refusal, b"")
    with (
        qmp.QmpConnection(listener.getsockname()) as connection,
        pytest.raises(qmp.QmpError, match="no such command"),
    ):
        connection.execute("x-nothing")


def test_a_monitor_that_hangs(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qmp, "ANSWER_SECONDS", 0.05)
    serve(listener, GREETING, b'{"return": {}}\r\n', b" ", b" ")
    with (
        qmp.QmpConnection(listener.getsockname()) as connection,
        pytest.raises(TargetError, match="does not answer"),
    ):
        connection.execute("query-status")


def echo(listener: socket.socket) -> threading.Thread:
    """A monitor that answers each command with its arguments."""

    def run() -> None:
        client, _ = listener.accept()
        client.sendall(GREETING)
        text, decoder = "", json.JSONDecoder()
        with client, suppress(OSError):
            while more := client.recv(4096):
                text = (text + more.decode()).lstrip()
                while text:
                    try:
                        asked, end = decoder.raw_decode(text)
                    except ValueError:
                        break  # the rest of it comes
                    text = text[end:].lstrip()
                    said = {"return": asked.get("arguments", {})}
                    said |= {"id": asked["id"]} if "id" in asked else {}
                    client.sendall(json.dumps(said).encode() + b"\r\n")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_threads_take_turns(listener: socket.socket) -> None:
    echo(listener)
    with qmp.QmpConnection(listener.getsockname()) as connection, ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda n: connection.execute("query", {"n": n})["n"], range(200))
        assert list(answers) == list(range(200))


def test_inside_an_event_loop_it_answers_too(listener: socket.socket) -> None:
    echo(listener)

    async def main() -> list[int]:
        # Connected, asked and closed where a loop runs: as in a notebook.
        with qmp.QmpConnection(listener.getsockname()) as connection:
            here = connection.execute("query", {"n": 1})["n"]
            there = (await asyncio.to_thread(connection.execute, "query", {"n": 2}))["n"]
            return [here, there]

    assert asyncio.run(main()) == [1, 2]


def test_paths_longer_than_a_socket_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as sock:
        monkeypatch.chdir(folder)
        sock.bind("s")
        sock.listen(1)
        qmp.connect(str(folder / "s")).close()
        with pytest.raises(TargetNotFound):
            qmp.connect(str(folder / "none"))


def test_permission(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(sock: socket.socket, path: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(qmp, "_connect_once", denied)
    with pytest.raises(TargetDenied) as caught:
        qmp.connect(listener.getsockname())
    assert caught.value.exit_code == 5


def test_knocking_at_many_doors(tmp_path: Path) -> None:
    expected = {str(tmp_path / "none"): "broken"}
    sockets: list[socket.socket] = []
    for index in range(70):
        sock = socket.socket(socket.AF_UNIX)
        sockets.append(sock)
        path = str(tmp_path / str(index))
        sock.bind(path)
        sock.listen(1)
        expected[path] = "free" if index % 35 else "busy"
        if index % 35:
            serve(sock, GREETING)
    started = time.monotonic()
    found = knock(list(expected))
    assert {path: offer.state for path, offer in found.items()} == expected
    assert time.monotonic() - started < 2
    for sock in sockets:
        sock.close()
