from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from vmon.api import door
from vmon.cli import cli
from vmon.core.errors import NotSupported, UsageError


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["serve", *arguments], catch_exceptions=False)


def test_a_network_address_needs_tokens() -> None:
    with pytest.raises(UsageError, match="needs tokens") as found:
        run("--listen", "127.0.0.1:0")
    assert "--new-token-file" in found.value.hint


def test_a_missing_library_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "find_spec", lambda name: None if name == "uvicorn" else object())
    with pytest.raises(NotSupported, match="needs uvicorn") as found:
        run()
    assert found.value.hint == "pip install 'vmon[http]'"


@pytest.mark.parametrize("mode", ["9", "0o600", "1777", "77777", "-600", ""])
def test_permissions_that_are_none(mode: str) -> None:
    with pytest.raises(UsageError, match="no permissions"):
        run("--socket-mode", mode)


def test_a_policy_needs_guests_that_are_named_and_may_be_changed(tmp_path: Path) -> None:
    for more in ((), ("web1", "--read-only")):
        with pytest.raises(UsageError, match="guests that are named"):
            run("--policy", str(tmp_path / "p"), *more)


def test_a_token_file_is_made(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    assert "yours alone" in run("--new-token-file", str(file)).stderr
    assert file.read_text().startswith("operator:")


def test_it_says_where_it_listens_and_leaves_no_socket_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(
        "vmon.api.server.run", lambda app, listening, end: seen.append((path.exists(), app._rules))
    )
    path = tmp_path / "s"
    assert f"listening at {path}" in run("web1", "--listen", f"unix:{path}").stderr
    assert not path.exists()
    run("--new-token-file", str(tmp_path / "t"))
    told = run(
        "web1", "--listen", "127.0.0.1:0", "--token-file", str(tmp_path / "t"), "--allow-host", "vmon.example"
    )
    port = told.stderr.rpartition(":")[2].strip("/\n")
    (there, on_socket), (_, on_network) = seen
    assert there
    assert (on_socket.tokens, on_socket.hosts) == (None, None)
    assert {f"127.0.0.1:{port}", f"localhost:{port}", "vmon.example"} <= on_network.hosts
    told = run("web1", "--listen", "0.0.0.0:0", "--token-file", str(tmp_path / "t"))
    assert "not encrypted" in told.stderr
