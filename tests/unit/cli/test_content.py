from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.unit.linux.files import PAGE, Files
from vmon.cli import cli
from vmon.cli import content as module
from vmon.core.address import Gva
from vmon.core.errors import NotResident, UsageError
from vmon.linux.content import FileContent, content_of_inode

TEXT = "Grüße\n\tall of it\n".encode() * 500
HOLE = range(PAGE, 2 * PAGE)


def made(data: bytes, *, hole: bool = False) -> FileContent:
    files = Files()
    node = files.inode(filesystem="ext4", ops="ext4_aops")
    files.fill(node, data, without=[1] if hole else [])
    return content_of_inode(files.kernel(), Gva(node), "/a \x1b file", deleted=False)


class Machine:
    def __init__(self, content: FileContent) -> None:
        self.content = content
        self.asked: list[tuple[object, ...]] = []

    def read_file(self, what: str, pid: int) -> FileContent:
        self.asked.append((what, pid))
        return self.content

    def read_exe(self, pid: int) -> FileContent:
        self.asked.append((pid,))
        return self.content


def run(monkeypatch: pytest.MonkeyPatch, content: FileContent, *arguments: str) -> tuple[Result, Machine]:
    machine = Machine(content)

    @contextmanager
    def attached(target: str) -> Iterator[Machine]:
        assert target == "x"
        yield machine

    monkeypatch.setattr(module, "attached", attached)
    return CliRunner().invoke(cli, list(arguments)), machine


def test_cat_writes_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    done, machine = run(monkeypatch, made(bytes(range(256)) * 100), "cat", "x", "7:3")
    assert (done.exit_code, done.stdout_bytes, done.stderr) == (0, bytes(range(256)) * 100, "")
    assert machine.asked == [("7:3", 1)]
    _, machine = run(monkeypatch, made(b""), "cat", "x", "/etc/passwd", "--pid", "9")
    assert machine.asked == [("/etc/passwd", 9)]


def test_holes_are_zeros_and_told_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    done, _ = run(monkeypatch, made(TEXT, hole=True), "cat", "x", "/f")
    assert done.stdout_bytes == TEXT[:PAGE] + bytes(PAGE) + TEXT[2 * PAGE :]
    assert "0x1000-0x2000 not resident" in done.stderr and "4.0 KiB of" in done.stderr
    done, _ = run(monkeypatch, made(TEXT, hole=True), "cat", "x", "/f", "--holes", "fail")
    assert isinstance(done.exception, NotResident) and done.stdout_bytes == b""
    assert "0x1000-0x2000" in done.exception.message


def test_many_holes_are_told_shortly(monkeypatch: pytest.MonkeyPatch) -> None:
    files = Files()
    node = files.inode(filesystem="ext4", ops="ext4_aops")
    files.fill(node, bytes(60 * PAGE), without=range(0, 60, 2))
    content = content_of_inode(files.kernel(), Gva(node), "/f", deleted=False)
    done, _ = run(monkeypatch, content, "cat", "x", "/f")
    assert "and 20 more" in done.stderr


def test_files_are_made_anew_and_not_executable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done, machine = run(monkeypatch, made(TEXT, hole=True), "exe", "x", "42", "-o", str(out))
    assert machine.asked == [(42,)]
    assert out.read_bytes() == TEXT[:PAGE] + bytes(PAGE) + TEXT[2 * PAGE :]
    assert not os.access(out, os.X_OK)
    assert "\\x1b" in done.stderr and "\x1b" not in done.stderr
    done, _ = run(monkeypatch, made(TEXT), "cat", "x", "/f", "-o", str(out))
    assert isinstance(done.exception, UsageError) and "--force" in done.exception.hint
    done, _ = run(monkeypatch, made(b"short"), "cat", "x", "/f", "-o", str(out), "--force")
    assert (done.exit_code, out.read_bytes()) == (0, b"short")
    done, _ = run(monkeypatch, made(TEXT), "cat", "x", "/f", "-o", str(tmp_path / "no" / "folder"))
    assert isinstance(done.exception, UsageError) and "can't be written" in done.exception.message


def test_zeros_take_no_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = Files()
    node = files.inode()
    files.small.set(node, "inode", i_size=(8 << 20) + 5)
    content = content_of_inode(files.kernel(), Gva(node), "/f", deleted=False)
    run(monkeypatch, content, "cat", "x", "/f", "-o", str(tmp_path / "out"))
    about = (tmp_path / "out").stat()
    assert (about.st_size, about.st_blocks) == ((8 << 20) + 5, 0)


def test_a_terminal_gets_text_alone(capsys: pytest.CaptureFixture[str]) -> None:
    module._to_terminal(made(TEXT * 60))  # a letter lies across two pieces
    assert capsys.readouterr().out == (TEXT * 60).decode()
    for data in (
        b"\x1b]0;title\x07",
        b"a\0b",
        "\u202etxt".encode(),
        b"\xff\xfe",
        b"back\rspace",
        "\x9b1m".encode(),
    ):
        with pytest.raises(UsageError, match="no plain text") as caught:
            module._to_terminal(made(data))
        assert "-o FILE" in caught.value.hint
        assert capsys.readouterr().out == ""
    with pytest.raises(UsageError, match="from here on"):
        module._to_terminal(made(b"a" * (256 << 10) + b"\x1b[2J"))
    with pytest.raises(UsageError):
        module._to_terminal(made("ü".encode()[:1]))
