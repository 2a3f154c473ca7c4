"""Real sockets: what arrives, in which frames, and what happens when a collector goes away and comes back."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from vmon.core.errors import OutputError
from vmon.sinks.syslog import SyslogWriter, tcp, tls, udp, unix
from vmon.sinks.writer import Refused, Undelivered

PATIENCE_S = 30.0


class Collector:
    """A TCP server that reads octet-counted messages of one connection after another."""

    def __init__(
        self, wrap: Callable[[socket.socket], socket.socket] = lambda found: found, port: int = 0
    ) -> None:
        self.server = socket.create_server(("127.0.0.1", port))
        self.port = self.server.getsockname()[1]
        self._wrap = wrap
        self.connection: socket.socket | None = None

    def accept(self) -> None:
        self.server.settimeout(PATIENCE_S)
        self.connection = self._wrap(self.server.accept()[0])
        self.connection.settimeout(PATIENCE_S)

    def message(self) -> bytes:
        assert self.connection is not None
        length = b""
        while not length.endswith(b" "):
            byte = self.connection.recv(1)
            assert byte
            length += byte
        data = b""
        while len(data) < int(length):
            data += self.connection.recv(int(length) - len(data))
        return data

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.server.close()


def test_unix(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        writer = SyslogWriter("syslog+unix", unix(path), framed=False)
        writer.write([b"<110>1 - a", b"<110>1 - b"])
        assert [server.recv(4096) for _ in range(2)] == [b"<110>1 - a", b"<110>1 - b"]
    Path(path).unlink()
    with pytest.raises(Undelivered):
        writer.write([b"lost"])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        writer.write([b"again"])
        assert server.recv(4096) == b"again"
    writer.idle()
    writer.close()


def test_udp_and_what_is_too_long() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(PATIENCE_S)
        writer = SyslogWriter("syslog+udp", udp("127.0.0.1", server.getsockname()[1]), framed=False)
        with pytest.raises(Refused, match="70000 bytes is too long") as caught:
            writer.write([b"one", b"x" * 70_000, b"two"])
        assert (caught.value.delivered, caught.value.dropped) == (1, 1)
        writer.write([b"two"])
        assert [server.recv(4096) for _ in range(2)] == [b"one", b"two"]
        writer.close()


def test_tcp_and_a_collector_that_comes_back() -> None:
    first = Collector()
    writer = SyslogWriter("syslog+tcp", tcp("127.0.0.1", first.port), framed=True)
    first.accept()
    writer.write([b"a b\nc", "é".encode()])
    assert [first.message(), first.message()] == [b"a b\nc", "é".encode()]
    first.close()
    with pytest.raises(Undelivered, match="syslog"):
        for _ in range(100):
            writer.write([b"nobody"])
    second = Collector(port=first.port)
    thread = threading.Thread(target=second.accept)
    thread.start()
    writer.write([b"again"])
    thread.join()
    assert second.message() == b"again"
    writer.close()
    second.close()


def test_tls_trusts_whom_it_is_told_to(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    collector = Collector(lambda found: context.wrap_socket(found, server_side=True))
    found: list[bytes] = []

    def serve() -> None:
        collector.accept()
        found.append(collector.message())

    thread = threading.Thread(target=serve)
    thread.start()
    writer = SyslogWriter("syslog+tls", tls("localhost", collector.port, tmp_path / "ca.pem"), framed=True)
    writer.write([b"secret"])
    thread.join()
    assert found == [b"secret"]
    writer.write([b"more"])  # looks whether it hung up, through TLS
    writer.close()

    def refuse() -> None:
        with pytest.raises(OSError):
            collector.accept()

    thread = threading.Thread(target=refuse)
    thread.start()
    with pytest.raises(OutputError, match=r"can't be reached.*certificate"):
        SyslogWriter("syslog+tls", tls("localhost", collector.port), framed=True)
    thread.join()
    collector.close()
    with pytest.raises(OutputError, match="no certificates"):
        tls("localhost", 1, tmp_path / "missing")


@pytest.mark.parametrize("connect", [unix("/nowhere/log"), tcp("127.0.0.1", 1)])
def test_nobody_there(connect: Callable[[], socket.socket]) -> None:
    with pytest.raises(OutputError, match="can't be reached"):
        SyslogWriter("x", connect, framed=True)
