from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from vmon.api.sockets import default_path, names, open_socket, parse_listen
from vmon.core.errors import TargetBusy, UsageError


def test_where_to_listen_is_a_path_or_an_address() -> None:
    assert parse_listen("unix:/run/x").path == Path("/run/x")
    assert parse_listen("127.0.0.1:8643").hosts == {"127.0.0.1:8643", "localhost:8643", "[::1]:8643"}
    assert parse_listen("[::1]:1").host == "::1"
    assert parse_listen("10.1.2.3:80").hosts == {"10.1.2.3:80", "localhost:80"}
    assert parse_listen("unix:/run/x").hosts is None
    assert default_path().name == "serve.sock"


@pytest.mark.parametrize("text", ["", "unix:", "8643", ":8643", "a:b", "127.0.0.1:99999", "::1:80", "a b:80"])
def test_what_is_nowhere(text: str) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        parse_listen(text)


def test_other_names_come_with_the_port_and_without() -> None:
    assert names(["Vmon.example", "a:443"], 8643) == {"vmon.example:8643", "vmon.example", "a:443"}


def test_a_socket_file_is_made_and_one_that_was_left_is_replaced(tmp_path: Path) -> None:
    listen = parse_listen(f"unix:{tmp_path / 'below' / 's'}")
    assert listen.path is not None
    first = open_socket(listen, 0o660)
    assert stat.S_IMODE(listen.path.stat().st_mode) == 0o660
    assert stat.S_IMODE(listen.path.parent.stat().st_mode) == 0o700
    with pytest.raises(TargetBusy):
        open_socket(listen)
    first.close()
    open_socket(listen).close()


def test_an_address_that_is_taken_or_unknown() -> None:
    with open_socket(parse_listen("127.0.0.1:0")) as first:
        port = first.getsockname()[1]
        with pytest.raises(UsageError):
            open_socket(parse_listen(f"127.0.0.1:{port}"))
        with socket.create_connection(("127.0.0.1", port), timeout=10):
            pass
    with pytest.raises(UsageError):
        open_socket(parse_listen("no-such-host.invalid:1"))
