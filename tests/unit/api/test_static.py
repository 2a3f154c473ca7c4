from __future__ import annotations

from pathlib import Path

from tests.unit.api.fakes import Client
from vmon.api.static import PageFile, read_page


def test_files_of_a_known_kind_are_read_those_below_too(tmp_path: Path) -> None:
    (tmp_path / "script").mkdir()
    (tmp_path / "__pycache__").mkdir()
    for name in ("index.html", "script/app.js", "__pycache__/x.js", "secret.py", "a.css"):
        (tmp_path / name).write_text(name)
    found = read_page(tmp_path)
    assert sorted(found) == ["a.css", "index.html", "script/app.js"]
    assert found["script/app.js"].media_type.startswith("text/javascript")
    assert read_page(tmp_path / "none") == {}


def test_a_file_is_sent_once_and_then_known(client: Client) -> None:
    client.app._app.state.page = {
        "index.html": PageFile(b"<!doctype html>", "text/html; charset=utf-8", '"1"')
    }  # type: ignore[attr-defined]
    client.token = None
    reply = client.get("/")
    assert (reply.status, reply.body) == (200, b"<!doctype html>")
    assert reply.headers["etag"] == '"1"'
    assert reply.headers["cache-control"] == "no-cache"
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    again = client.get("/index.html", if_none_match='"1"')
    assert (again.status, again.body) == (304, b"")
    assert client.get("/other.js").status == 404
