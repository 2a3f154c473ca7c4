"""ELF files of a compiler, and ELF files that lie."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.build import note
from tests.unit.kernel.fuzz import steady
from vmon.core.errors import BadStructure
from vmon.kernel.elf_symbols import HEAD, SECTION, ElfSymbols

BANNER = b"Linux version 6.66.0\n\0"
NAMES = b"\0fs_init\0init_task\0linux_banner\0"


def elf(sections: list[tuple[int, int, bytes, int]] | None = None) -> bytes:
    """A file of (type, address, bytes, link) sections."""
    if sections is None:
        symbols = [(1, 0x100), (NAMES.index(b"init_task"), 0x200), (NAMES.index(b"linux_banner"), 0x1008)]
        table = b"".join(struct.pack("<IBBHQQ", name, 0, 0, 1, value, 0) for name, value in symbols)
        sections = [
            (0, 0, b"", 0),
            (1, 0x1000, bytes(8) + BANNER, 0),
            (2, 0, table, 3),
            (3, 0, NAMES, 0),
            (7, 0, note(b"other\0", 1, b"abcd") + note(b"GNU\0", 3, b"\xab" * 20), 0),
            (8, 0x9000, b"", 0),
        ]
    body, rows = bytearray(bytes(HEAD.size)), b""
    for kind, address, data, link in sections:
        rows += SECTION.pack(0, kind, 0, address, len(body), len(data), link, 0, 1, 0)
        body += data
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    body[: HEAD.size] = HEAD.pack(
        ident, 2, 62, 1, 0, 0, len(body), 0, 64, 0, 0, SECTION.size, len(sections), 0
    )
    return bytes(body) + rows


def test_symbols_build_id_and_text() -> None:
    found = ElfSymbols(memoryview(elf()))
    assert found.find_symbols(["init_task", "linux_banner", "nowhere"]) == {
        "init_task": 0x200,
        "linux_banner": 0x1008,
    }
    assert found.find_symbols(["init"]) == {}, "the end of a name is no name"
    assert found.build_id == "ab" * 20
    assert found.text_at(0x1008) == "Linux version 6.66.0\n"
    assert found.text_at(0x5000) is None


def test_a_stripped_file_has_no_symbols() -> None:
    found = ElfSymbols(memoryview(elf([(1, 0x1000, BANNER, 0)])))
    assert found.find_symbols(["init_task"]) == {}
    assert found.build_id is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x7fELF", "cut short"),
        (b"MZ" + elf()[2:], "no ELF"),
        (elf()[:18] + b"\xb7\0" + elf()[20:], "64-bit x86"),
        (elf()[:-1], "without its sections"),
        (
            elf([(1, 0, b"", 0)])[: HEAD.size] + SECTION.pack(0, 1, 0, 0, 0, 1 << 40, 0, 0, 1, 0),
            "beyond the end",
        ),
    ],
)
def test_files_that_are_none(data: bytes, words: str) -> None:
    with pytest.raises(BadStructure, match=words):
        ElfSymbols(memoryview(data))


def test_a_file_of_the_compiler(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("no compiler")
    source = tmp_path / "x.c"
    source.write_text('const char linux_banner[] = "Linux version 1.2.3";\nint main(void) { return 0; }\n')
    subprocess.run(["gcc", "-Wl,--build-id", "-no-pie", "-o", tmp_path / "x", source], check=True)
    found = ElfSymbols(memoryview((tmp_path / "x").read_bytes()))
    at = found.find_symbols(["linux_banner"])["linux_banner"]
    assert found.text_at(at) == "Linux version 1.2.3"
    assert found.build_id is not None and len(found.build_id) == 40


@steady()
@given(st.integers(0, len(elf()) - 1), st.integers(0, 255))
def test_a_damaged_file_is_read_or_refused(at: int, value: int) -> None:
    data = bytearray(elf())
    data[at] = value
    try:
        found = ElfSymbols(memoryview(bytes(data)))
        found.find_symbols(["init_task"])
        assert found.build_id != ""
        found.text_at(0x1008)
    except BadStructure:
        return
