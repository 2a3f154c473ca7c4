"""Where a server listens: a socket file that others can't open, or an address of this host.

Makes the socket and hands it over, so that its permissions are right from the first moment it can be connected to.
"""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vmon.core.errors import TargetBusy, UsageError
from vmon.core.folders import run_folder

BACKLOG = 128
LOOPBACK = ("127.0.0.1", "::1")
ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9.-]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Listen:
    """Where: a path, or a host and a port."""

    path: Path | None
    host: str = ""
    port: int = 0

    @property
    def hosts(self) -> frozenset[str] | None:
        """What a Host header may say; None where no browser can come from."""
        if self.path is not None:
            return None
        names = {self.host, "localhost", *(LOOPBACK if self.host in ("localhost", *LOOPBACK) else ())}
        return frozenset(with_port(name, self.port) for name in names)


def with_port(name: str, port: int) -> str:
    """A name as a Host header has it."""
    return f"[{name}]:{port}" if ":" in name else f"{name.lower()}:{port}"


def names(given: Iterable[str], port: int) -> frozenset[str]:
    """More names, with their port or without one: as a proxy on a port of its own is called, and as this server is."""
    with_ports = {name.lower() if ":" in name else with_port(name, port) for name in given}
    return frozenset(with_ports | {name.lower() for name in given})


def default_path() -> Path:
    """serve.sock in the run folder."""
    return run_folder() / "serve.sock"


def parse_listen(text: str) -> Listen:
    """unix:PATH, HOST:PORT or [ADDRESS]:PORT. UsageError."""
    if text.startswith("unix:") and len(text) > 5:
        return Listen(Path(text[5:]))
    found = ADDRESS.fullmatch(text)
    if found is None or not int(found["port"]) < 65536:
        raise UsageError(f"{text!r} is nowhere to listen at", hint="unix:PATH, 127.0.0.1:8643 or [::1]:8643")
    return Listen(None, found["six"] or found["host"], int(found["port"]))


def open_socket(listen: Listen, mode: int = 0o600) -> socket.socket:
    """A socket that listens. UsageError where it can't be made, TargetBusy where somebody listens there already."""
    try:
        return _at_path(listen.path, mode) if listen.path is not None else _at_address(listen)
    except OSError as error:
        where = listen.path or f"{listen.host}:{listen.port}"
        raise UsageError(f"{where}: {error.strerror or error}") from error


def _at_path(path: Path, mode: int) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise UsageError(f"{path}: there is something else than a socket")
        with socket.socket(socket.AF_UNIX) as other:
            if other.connect_ex(str(path)) == 0:
                raise TargetBusy(
                    f"{path}: another server listens there", hint="--listen unix:PATH chooses another"
                )
        path.unlink()
    made = socket.socket(socket.AF_UNIX)
    old = os.umask(0o177)
    try:
        made.bind(str(path))
    except BaseException:
        made.close()
        raise
    finally:
        os.umask(old)
    path.chmod(mode)
    made.listen(BACKLOG)
    return made


def _at_address(listen: Listen) -> socket.socket:
    family, kind, _, _, address = socket.getaddrinfo(
        listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    made = socket.socket(family, kind)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(BACKLOG)
    except BaseException:
        made.close()
        raise
    return made
