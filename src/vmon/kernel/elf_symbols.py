"""A vmlinux is an ELF file: its symbol table says where things are linked, its notes which build it is.

Pure: looks into bytes that it is given (a mapped file of some hundred MB); only what is asked for is read. The file is
the user's; one that is cut or lies in its numbers is refused. Source: the ELF-64 object file format, elf.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vmon.core.errors import BadStructure
from vmon.kernel.notes import find_build_id

HEAD = struct.Struct("<16sHHIQQQIHHHHHH")
SECTION = struct.Struct("<IIQQQQIIQQ")
SYMBOL = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
SHT_SYMTAB, SHT_NOTE, SHT_NOBITS = 2, 7, 8
EM_X86_64 = 62
MAX_SECTIONS = 10_000
MAX_PLACES = 4096
"""Times that a wanted name may end another one in the table of names."""


@dataclass(frozen=True, slots=True)
class _Section:
    kind: int
    address: int
    place: int
    size_bytes: int
    link: int


class ElfSymbols:
    """One ELF file of 64-bit x86. BadStructure where it is none."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        try:
            head = HEAD.unpack(data[: HEAD.size])
        except struct.error:
            raise BadStructure("an ELF file that is cut short", field="elf") from None
        if head[0][:6] != b"\x7fELF\x02\x01" or head[2] != EM_X86_64:
            raise BadStructure("no ELF file of a 64-bit x86 kernel", field="elf")
        at, count = head[6], head[12]
        if not 0 < count <= MAX_SECTIONS or at + count * SECTION.size > len(data):
            raise BadStructure("an ELF file without its sections", field="elf")
        rows = SECTION.iter_unpack(data[at : at + count * SECTION.size])
        self._sections = [_Section(row[1], row[3], row[4], row[5], row[6]) for row in rows]
        for section in self._sections:
            if section.kind != SHT_NOBITS and section.place + section.size_bytes > len(data):
                raise BadStructure("an ELF section beyond the end of the file", field="elf")

    def find_symbols(self, names: Iterable[str]) -> dict[str, int]:
        """Values of those that are there; none where the file was stripped."""
        found: dict[str, int] = {}
        for table in self._sections:
            if table.kind != SHT_SYMTAB or table.link >= len(self._sections):
                continue
            texts = self._bytes(self._sections[table.link])
            symbols = np.frombuffer(
                self._bytes(table), dtype=SYMBOL, count=table.size_bytes // SYMBOL.itemsize
            )
            by_name = np.argsort(symbols["name"], kind="stable")
            ordered = symbols["name"][by_name]
            for name in names:
                place = self._symbol_named(name.encode("latin-1"), texts, ordered)
                if place is not None and name not in found:
                    found[name] = int(symbols["value"][by_name[place]])
        return found

    @staticmethod
    def _symbol_named(
        name: bytes, texts: bytes, ordered: np.ndarray[tuple[int], np.dtype[np.uint32]]
    ) -> int | None:
        # A name may be the end of another one: every place where it ends is tried.
        at = texts.find(name + b"\0")
        for _ in range(MAX_PLACES):
            if at < 0:
                break
            place = int(np.searchsorted(ordered, at))
            if place < len(ordered) and ordered[place] == at:
                return place
            at = texts.find(name + b"\0", at + 1)
        return None

    def _bytes(self, section: _Section) -> bytes:
        return bytes(self._data[section.place : section.place + section.size_bytes])

    @property
    def build_id(self) -> str | None:
        """Hexadecimal; None where there is none."""
        for section in self._sections:
            if section.kind == SHT_NOTE:
                notes = self._bytes(section)
                try:
                    return find_build_id(notes, 0, len(notes))[0]
                except BadStructure:
                    continue
        return None

    def text_at(self, address: int, most_bytes: int = 512) -> str | None:
        """The text at an address as linked; None where the file does not hold it."""
        for section in self._sections:
            inside = address - section.address
            if section.address and 0 <= inside < section.size_bytes and section.kind != SHT_NOBITS:
                place = section.place + inside
                text = bytes(self._data[place : place + min(most_bytes, section.size_bytes - inside)])
                return text.split(b"\0", 1)[0].decode("utf-8", "replace")
        return None
