from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import pytest

from tests.unit.export.told import ORIGIN, event
from vmon.core.errors import OutputError, UsageError
from vmon.export.chain import verify
from vmon.export.formats import FORMATS
from vmon.sinks.places import SCHEMES, Place, content_type, open_place, read_key, read_place

PAGE = (Path(__file__).parents[3] / "docs" / "outputs.md").read_text()


@pytest.mark.parametrize(
    ("text", "form", "scheme", "name"),
    [
        ("file:events.jsonl", "jsonl", "file", "file:events.jsonl"),
        ("ecs=file:/var/log/a=b", "ecs", "file", "file:/var/log/a=b"),
        ("journal:/j?key=/k&sync=always", "jsonl", "journal", "journal:/j?key=/k&sync=always"),
        ("syslog+unix:///dev/log", "syslog", "syslog+unix", "syslog+unix:///dev/log"),
        ("cef=syslog+tcp://c.example:6000", "cef", "syslog+tcp", "syslog+tcp://c.example:6000"),
        ("https://u:secret@h.example/in?token=t", "jsonl", "https", "https://...@h.example/in?..."),
        ("ocsf=http://[::1]:80/", "ocsf", "http", "http://[::1]:80/"),
    ],
)
def test_words(text: str, form: str, scheme: str, name: str) -> None:
    place = read_place(text)
    assert (place.form, place.scheme, place.name) == (form, scheme, name)
    assert "secret" not in place.name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("events.jsonl", "names no place"),
        ("gopher://x", "no place gopher:"),
        ("xml=file:a", "no format 'xml'"),
        ("cef=journal:a", "a journal holds JSON"),
        ("syslog+tcp://", "names no host"),
        ("syslog+tcp://h:99999", "Port out of range"),
        ("https:///in", "names no host"),
        ("journal:?sync=never", "names no file"),
        ("syslog+unix://", "names no file"),
        ("file:a?rotate=1", "knows no 'rotate'"),
        ("syslog+tls://h?cert=a", "knows no 'cert'"),
        ("", "names no place"),
    ],
)
def test_words_that_make_no_sense(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_place(text)


def put_into(text: str) -> None:
    out = open_place(read_place(text))
    out.put(event(), ORIGIN)
    assert out.close().delivered == 1


def test_a_file_in_each_format(tmp_path: Path) -> None:
    for form in ("jsonl", "ecs", "ocsf", "falco"):
        put_into(f"{form}=file:{tmp_path}/{form}")
        json.loads((tmp_path / form).read_text())
    put_into(f"cef=file:{tmp_path}/cef")
    assert (tmp_path / "cef").read_text().startswith("CEF:0|vmon|")
    put_into(f"syslog=file:{tmp_path}/a%20b")
    assert (tmp_path / "a b").read_text().startswith("<110>1 ")


def test_a_journal_with_a_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("0123456789abcdef\n")
    put_into(f"journal:{tmp_path}/j?key={tmp_path}/key&sync=never")
    with (tmp_path / "j").open("rb") as file:
        assert verify(file, b"0123456789abcdef").records == 1
    with pytest.raises(UsageError, match="sync is one of"):
        open_place(read_place(f"journal:{tmp_path}/k?sync=maybe"))
    (tmp_path / "key").write_text("short")
    with pytest.raises(OutputError, match="16 bytes or more"):
        read_key(tmp_path / "key")
    with pytest.raises(OutputError, match="can't be read"):
        read_key(tmp_path / "nokey")


def test_syslog_carries_other_formats() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(30)
        port = server.getsockname()[1]
        put_into(f"cef=syslog+udp://127.0.0.1:{port}")
        assert b"] CEF:0|vmon|" in server.recv(4096)
        put_into(f"syslog+udp://127.0.0.1:{port}")
        assert b"[vmon@32473 " in server.recv(4096)


def test_places_that_are_not_there(tmp_path: Path) -> None:
    for text in (
        f"file:{tmp_path}/no/file",
        f"syslog+unix:{tmp_path}/log",
        "syslog+tcp://127.0.0.1:1",
        f"syslog+tls://h?ca={tmp_path}/no",
    ):
        with pytest.raises(OutputError):
            open_place(read_place(text))


def test_content_types() -> None:
    assert content_type("cef").startswith("text/plain")
    assert content_type("ecs") == "application/x-ndjson"
    assert Place("file:a\nb", "file", "ecs").name.isprintable()


def test_every_example_of_the_docs_is_read() -> None:
    shown = [text for text in re.findall(r"--to '?([^\s'`]+)", PAGE) if not text.startswith("[")]
    assert len(shown) >= 5
    for text in shown:
        read_place(text)


def test_every_place_and_format_is_documented() -> None:
    assert not [scheme for scheme in SCHEMES if f"`{scheme}:" not in PAGE]
    assert not [form for form in FORMATS if f"- `{form}`" not in PAGE]
