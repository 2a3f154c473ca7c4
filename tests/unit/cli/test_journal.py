from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.unit.export.told import DETECTIONS, NOTICES, ORIGIN, event
from vmon.cli.journal import journal
from vmon.core.errors import JournalBroken, UsageError
from vmon.export import ecs
from vmon.export.jsonl import encode
from vmon.sinks.journal import JournalWriter


def run(*arguments: str) -> Result:
    return CliRunner().invoke(journal, arguments, catch_exceptions=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "j"
    writer = JournalWriter(found)
    records = (event("process.exec", name="a\nb"), DETECTIONS[0], NOTICES[0])
    writer.write([encode(record, ORIGIN) for record in records])
    writer.write([ecs.encode(event(), ORIGIN)])
    writer.close()
    return found


def test_verify(path: Path) -> None:
    said = run("verify", str(path)).output
    assert "6 lines follow one another, 4 of them records" in said
    head = said.split("head ")[1].split()[0]
    assert "that of line 6" in run("verify", str(path), "--head", head).output
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4]))
    assert "does not close it" in run("verify", str(path)).output
    with pytest.raises(JournalBroken, match="cut off after line 4"):
        run("verify", str(path), "--head", head)
    path.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    with pytest.raises(JournalBroken, match=r"j: line 3: number 4 follows 2") as caught:
        run("verify", str(path))
    assert caught.value.exit_code == 27
    path.write_bytes(b"")
    with pytest.raises(JournalBroken, match="empty"):
        run("verify", str(path))
    with pytest.raises(UsageError, match="No such file"):
        run("verify", str(path) + "x")


def test_show(path: Path) -> None:
    said = run("show", str(path)).output
    assert said.isascii() and "\x1b" not in said
    assert "process.exec 113 a\\nb sh -c id /bin/sh" in said
    assert "A server starts a shell: process.exec" in said
    assert "the probe is gone" in said and "journal begun" in said and "journal closed" in said
    assert "file.open by httpd" in said
    assert run("show", str(path), "-o", "jsonl").output.count('"origin"') == 3
    path.write_bytes(path.read_bytes().replace(b"sh -c", b"sh +c").replace(b'"-c"', b'"+c"'))
    with pytest.raises(JournalBroken, match="lines are not as they were written"):
        run("show", str(path))


def test_with_a_key(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"0123456789abcdef")
    JournalWriter(tmp_path / "j", key=key.read_bytes()).close()
    said = run("verify", str(tmp_path / "j"), "--key", str(key)).output
    assert "no key" not in said
    with pytest.raises(JournalBroken, match="written with a key"):
        run("verify", str(tmp_path / "j"))
