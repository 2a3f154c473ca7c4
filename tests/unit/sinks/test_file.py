from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from vmon.core.errors import OutputError
from vmon.sinks import file
from vmon.sinks.file import FileWriter
from vmon.sinks.writer import Undelivered


def test_lines_are_added_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "events"
    for word in (b"a", b"b"):
        writer = FileWriter(path)
        writer.write([word, word * 2])
        writer.idle()
        writer.close()
    assert path.read_bytes() == b"a\naa\nb\nbb\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_is_moved_away_is_opened_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "LOOK_S", 0.0)
    path = tmp_path / "events"
    writer = FileWriter(path)
    writer.write([b"old"])
    path.rename(tmp_path / "events.1")
    writer.write([b"new"])
    writer.write([b"newer"])
    writer.close()
    assert (tmp_path / "events.1").read_bytes() == b"old\n"
    assert path.read_bytes() == b"new\nnewer\n"


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events"
    writer = FileWriter(path)
    real, calls = os.write, []

    def full(fd: int, data: bytes) -> int:
        calls.append(len(data))
        if len(calls) == 1:
            return real(fd, data[:7])  # one line and a half
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(Undelivered, match="No space left") as caught:
        writer.write([b"1234", b"5678"])
    assert caught.value.delivered == 1
    monkeypatch.setattr(os, "write", real)
    writer.write([b"5678"])
    writer.close()
    assert path.read_bytes() == b"1234\n5678\n"


def test_a_place_that_can_not_be_opened(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="Is a directory"):
        FileWriter(tmp_path)
