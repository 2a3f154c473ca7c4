from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from vmon.cli.memory import hex_lines
from vmon.core.errors import NotMapped, UsageError
from vmon.core.records.memory import Memory, MissingRecord


def arguments_at(run: Run) -> int:
    row = next(line for line in run("maps", "x", "42").stdout.splitlines() if line.endswith("[stack]"))
    return int(row.split()[0], 16)


def test_lines_as_of_xxd() -> None:
    part = MissingRecord(address=0x1012, size=3, reason="swapped", detail="")
    lines = list(hex_lines(Memory(b"0123456789abcdef" + b"\0\x1b\0\0\0z", 0x1000, [part])))
    assert lines == [
        "0000000000001000: 3031 3233 3435 3637 3839 6162 6364 6566  0123456789abcdef",
        "0000000000001010: 001b ???? ??7a                           ..???z",
    ]


@pytest.mark.parametrize("word", ["x", "-5", "0x", "5T", "1.5M", ""])
def test_numbers_that_are_none(run: Run, word: str) -> None:
    done = run("memory", "x", "42", "0", "--", word)
    assert done.exit_code == 2
    assert "is not a number" in done.stderr or "No such option" in done.stderr


def test_an_address_where_nothing_is(run: Run) -> None:
    with pytest.raises(NotMapped) as caught:
        run("memory", "x", "42", "0x10", "64")
    assert "vmon maps" in caught.value.hint


def test_into_a_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "bytes"
    start = arguments_at(run)
    done = run("memory", "x", "42", hex(start), "8K", "-o", str(file))
    assert done.exit_code == 0
    assert file.stat().st_size == 8192
    with pytest.raises(UsageError, match="there already"):
        run("memory", "x", "42", hex(start), "8K", "-o", str(file))
    assert run("memory", "x", "42", hex(start), "1k", "-o", str(file), "--force").exit_code == 0
    assert file.stat().st_size == 1024
    with pytest.raises(UsageError, match="can't be written"):
        run("memory", "x", "42", hex(start), "1", "-o", str(tmp_path / "no" / "folder"))
    with pytest.raises(NotMapped):
        run("memory", "x", "42", "0x10", "1", "-o", str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()
