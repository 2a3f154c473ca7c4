"""A file is what its first bytes say, and is loaded when it is asked."""

from __future__ import annotations

import gzip
import json
import lzma
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.export.test_isf import make
from vmon.core.errors import UsageError
from vmon.monitor.symbol_files import SymbolFile

TEXT = json.dumps(make()).encode()


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_symbol_files_packed_or_not(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "any name"
    path.write_bytes(pack(TEXT))
    file = SymbolFile(path)
    given = file.load()
    assert given.source == "isf" and given.name == str(path) and given.build_id is None
    assert given.banner == "Linux version 6.1.0 (x) #1"
    assert given.types.find("task_struct")
    assert given.find_symbols(["plain"])
    assert file.load() is given


def test_what_was_learnt_from_a_file_is_told_apart_by_it(tmp_path: Path) -> None:
    one, other = tmp_path / "a", tmp_path / "b"
    for path in (one, other):
        path.write_bytes(TEXT)
        os.utime(path, ns=(0, 0))
    before = SymbolFile(one).digest
    assert SymbolFile(one).digest == before != SymbolFile(other).digest
    os.utime(one, ns=(0, 1))
    assert SymbolFile(one).digest != before


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"nothing", gzip.compress(TEXT)[:-20], lzma.compress(TEXT)[:50], b"\x1f\x8bx", b"\x7fELF"],
    # The bytes of two of them have the time in them.
    ids=["empty", "no fields", "no json", "cut gzip", "cut xz", "no gzip", "an ELF file"],
)
def test_files_that_are_none(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(UsageError):
        SymbolFile(tmp_path / "f").load()


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(UsageError, match="can't be read"):
            SymbolFile(path)
