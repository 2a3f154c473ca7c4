"""A journal on a disk: continued, cut off by a crash, held by one, and never half written."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vmon.core.errors import JournalBroken, OutputError
from vmon.export.chain import Verdict, verify
from vmon.sinks.journal import JournalWriter, Sync
from vmon.sinks.writer import Undelivered

KEY = b"0123456789abcdef"
ENTRY = b'{"event":"file.open"}'


def judged(path: Path, key: bytes | None = None, head: str | None = None) -> Verdict:
    with path.open("rb") as file:
        return verify(file, key, head)


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("sync", ["always", "second", "never"])
def test_it_is_continued(tmp_path: Path, key: bytes | None, sync: Sync) -> None:
    path, heads = tmp_path / "j", []
    for _ in range(3):
        writer = JournalWriter(path, key=key, sync=sync)
        writer.write([ENTRY] * 5)
        writer.write([b'{"long":"%b"}' % (b"x" * 200_000)])
        writer.idle()
        writer.close()
        writer.close()
        heads.append(writer.head)
        assert writer.note.endswith(f"head {writer.head}")
    found = judged(path, key)
    assert (found.lines, found.records, found.closed, found.torn) == (3 * 8, 3 * 6, True, [])
    assert [judged(path, key, head).head_at for head in heads] == [8, 16, 24]


def test_cut_off_anywhere_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    path = tmp_path / "j"
    writer = JournalWriter(path)
    writer.write([ENTRY] * 2)
    writer.close()
    whole = path.read_bytes()
    starts = {0, *(at + 1 for at, byte in enumerate(whole) if byte == 10)}
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        writer = JournalWriter(path)
        writer.write([ENTRY])
        writer.close()
        found = judged(path)
        assert found.closed
        # Between lines, and where a line lacks nothing but its end, nothing was cut off.
        assert bool(found.torn) == (length not in starts and whole[length] != 10), length


def test_killed_as_it_writes(tmp_path: Path) -> None:
    path = tmp_path / "j"
    program = (
        "import sys, pathlib\nfrom vmon.sinks.journal import JournalWriter\n"
        "w = JournalWriter(pathlib.Path(sys.argv[1]))\nprint('up', flush=True)\n"
        "while True: w.write([b'{\"n\":1}'] * 100)"
    )
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    writer = JournalWriter(path)
    writer.close()
    found = judged(path)
    assert found.closed and found.records > 0


def test_one_writes_at_a_time(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "j")
    with pytest.raises(OutputError, match="another vmon writes"):
        JournalWriter(tmp_path / "j")
    writer.close()
    JournalWriter(tmp_path / "j").close()


def test_a_broken_end_is_not_built_on(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(b"notes of mine\nand more\n")
    with pytest.raises(JournalBroken, match="nothing is added"):
        JournalWriter(path)
    assert path.read_bytes() == b"notes of mine\nand more\n"
    other = tmp_path / "k"
    JournalWriter(other, key=KEY).close()
    with pytest.raises(JournalBroken, match="of another key"):
        JournalWriter(other)
    with pytest.raises(OutputError, match="Is a directory"):
        JournalWriter(tmp_path)


@pytest.mark.parametrize("truncates", [True, False])
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, truncates: bool) -> None:
    path = tmp_path / "j"
    writer = JournalWriter(path)
    real_write, real_cut, calls = os.write, os.ftruncate, []

    def full(fd: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) == 1:
            return real_write(fd, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    def stuck(fd: int, size: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "write", full)
    if not truncates:
        monkeypatch.setattr(os, "ftruncate", stuck)
    with pytest.raises(Undelivered, match=r"No space left|Input/output"):
        writer.write([ENTRY] * 3)
    monkeypatch.setattr(os, "write", real_write)
    monkeypatch.setattr(os, "ftruncate", real_cut)
    writer.write([ENTRY, ENTRY])
    writer.close()
    found = judged(path)
    assert found.closed
    assert bool(found.torn) is not truncates
