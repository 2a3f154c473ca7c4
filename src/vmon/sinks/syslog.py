"""A collector of syslog, reached by a Unix socket, UDP, TCP or TLS.

Over TCP and TLS each message says its length first (RFC 6587, RFC 5425). Syslog has no answers: delivered means that
the host's kernel took it; what was on its way when a connection broke is lost, and nobody can count it. That the other
side has hung up is looked for before each batch. A message too long for a datagram is dropped.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

from vmon.core.errors import OutputError
from vmon.sinks.writer import Refused, Undelivered

CONNECT_S = 5.0
SEND_S = 10.0
Connect = Callable[[], socket.socket]


class SyslogWriter:
    """Sends messages to one collector, and connects again when it must."""

    batch_records = 500
    linger_s = 0.02
    note = ""

    def __init__(self, name: str, connect: Connect, *, framed: bool) -> None:
        """OutputError where nobody is there at the beginning."""
        self._name = name
        self._connect = connect
        self._framed = framed
        self._socket: socket.socket | None = None
        try:
            self._socket = connect()
        except OSError as error:
            raise OutputError(f"{name} can't be reached: {_said(error)}") from error

    def write(self, batch: Sequence[bytes]) -> None:
        """Send each message; over a stream all of them at once."""
        try:
            if self._framed and self._socket is not None and _hung_up(self._socket):
                self.close()
            if self._socket is None:
                self._socket = self._connect()
        except OSError as error:
            self.close()
            raise Undelivered(f"{self._name}: {_said(error)}") from error
        if self._framed:
            self._send_stream(self._socket, batch)
        else:
            self._send_datagrams(self._socket, batch)

    def _send_stream(self, connection: socket.socket, batch: Sequence[bytes]) -> None:
        try:
            connection.sendall(b"".join(b"%d %b" % (len(message), message) for message in batch))
        except OSError as error:
            # How much of it arrived is not known: all of it goes over the next connection once more.
            self.close()
            raise Undelivered(f"{self._name}: {_said(error)}") from error

    def _send_datagrams(self, connection: socket.socket, batch: Sequence[bytes]) -> None:
        for number, message in enumerate(batch):
            try:
                connection.send(message)
            except OSError as error:
                if error.errno == errno.EMSGSIZE:
                    said = f"{self._name}: a message of {len(message)} bytes is too long"
                    raise Refused(said, number, 1) from error
                self.close()
                raise Undelivered(f"{self._name}: {_said(error)}", number) from error

    def idle(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None


def _hung_up(connection: socket.socket) -> bool:
    """Whether the other side closed. A collector sends nothing, so anything to read is an end."""
    connection.settimeout(0)
    try:
        return not connection.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(SEND_S)


def _said(error: OSError) -> str:
    return error.strerror or str(error)


def unix(path: str) -> Connect:
    """The host's own syslog: /dev/log."""

    def connect() -> socket.socket:
        found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        found.settimeout(SEND_S)
        try:
            found.connect(path)
        except OSError:
            found.close()
            raise
        return found

    return connect


def udp(host: str, port: int) -> Connect:
    """Datagrams to a host."""

    def connect() -> socket.socket:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        found = socket.socket(family, kind)
        found.settimeout(SEND_S)
        try:
            found.connect(address)
        except OSError:
            found.close()
            raise
        return found

    return connect


def tcp(host: str, port: int) -> Connect:
    """A connection to a host."""

    def connect() -> socket.socket:
        found = socket.create_connection((host, port), CONNECT_S)
        found.settimeout(SEND_S)
        return found

    return connect


def tls(host: str, port: int, ca: Path | None = None) -> Connect:
    """A connection to a host whose certificate fits its name; `ca` is trusted in place of the system's.

    OutputError where the file of certificates makes no sense.
    """
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ssl.SSLError) as error:
        raise OutputError(f"{ca}: no certificates can be read from it: {_said(error)}") from error

    def connect() -> socket.socket:
        bare = socket.create_connection((host, port), CONNECT_S)
        try:
            found = context.wrap_socket(bare, server_hostname=host)
        except OSError:
            bare.close()
            raise
        found.settimeout(SEND_S)
        return found

    return connect
