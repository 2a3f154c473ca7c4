"""A kernel's file says what its code is before the kernel changes it: where it was moved to, and where it may differ.

Pure: an ELF file as it was unpacked from a boot image, with the places that KASLR moves behind it. Somebody else's
file can lie in any size or address: each is checked against the file before it is used.
Sources: arch/x86/tools/relocs.c, arch/x86/boot/compressed/misc.c handle_relocations(), arch/x86/kernel/alternative.c,
arch/x86/kernel/vmlinux.lds.S, arch/x86/include/asm/runtime-const.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vmon.core.errors import UsageError
from vmon.kernel.notes import find_build_id
from vmon.kernel.types import Types

SECTION = struct.Struct("<IIQQQQIIQQ")
SHT_NOBITS = 8
MAX_SECTIONS = 4096
NEAR_BYTES = 5
LONG_JCC_BYTES = 6
ENDBR_BYTES = 4
IMMEDIATE_BYTES = 8
PARAVIRT_SITE_BYTES = 16
CHANGED = {
    ".return_sites": NEAR_BYTES,
    ".call_sites": NEAR_BYTES,
    ".ibt_endbr_seal": ENDBR_BYTES,
    # A thunk's call is five bytes, a conditional jump to one six.
    ".retpoline_sites": LONG_JCC_BYTES,
    ".smp_locks": 1,
}
"""Sections of 32-bit distances, and the bytes of each instruction that they lead to."""
Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the file."""

    name: str
    address: int
    offset: int
    size: int


class Vmlinux:
    """One kernel's file. UsageError where it is none that can be used."""

    def __init__(self, elf: bytes) -> None:
        self._elf = elf
        if len(elf) < 64 or elf[:6] != b"\x7fELF\x02\x01":
            raise UsageError("this is no 64-bit little-endian ELF file")
        (table,) = struct.unpack_from("<Q", elf, 0x28)
        size, count, names_at = struct.unpack_from("<HHH", elf, 0x3A)
        if size != SECTION.size or not 0 < count <= MAX_SECTIONS or table + size * count > len(elf):
            raise UsageError("the ELF file's table of sections makes no sense")
        heads = [SECTION.unpack_from(elf, table + size * number) for number in range(count)]
        names = heads[names_at][4] if names_at < count else 0
        self._sections = {}
        for name, kind, _, address, offset, length, *_ in heads:
            end = elf.find(b"\0", names + name)
            text = elf[names + name : end].decode("latin-1")
            if kind != SHT_NOBITS and offset + length <= len(elf):
                self._sections[text] = Section(text, address, offset, length)
        self._tail = elf[table + size * count :]

    def section(self, name: str) -> Section | None:
        """A section that has bytes in the file."""
        return self._sections.get(name)

    def data(self, section: Section) -> bytes:
        """Its bytes."""
        return self._elf[section.offset : section.offset + section.size]

    def read(self, address: int, size: int) -> bytes:
        """Bytes by the address that they are linked at. UsageError where the file has none."""
        for section in self._sections.values():
            if (
                section.address
                and section.address <= address
                and address + size <= section.address + section.size
            ):
                at = section.offset + address - section.address
                return self._elf[at : at + size]
        raise UsageError(f"the kernel's file has nothing at {address:#x}")

    @property
    def build_id(self) -> str:
        """Hexadecimal; empty where there is none."""
        section = self.section(".notes")
        return find_build_id(self.data(section), 0, section.size)[0] if section else ""

    def text(self, slide: int) -> tuple[int, NDArray[np.uint8]]:
        """Where the code is linked, and its bytes as they are after it was moved by `slide`."""
        section = self.section(".text")
        if section is None:
            raise UsageError("the kernel's file has no section .text")
        data = np.frombuffer(self.data(section), dtype=np.uint8).copy()
        if slide:
            for places, width, sign in self._moved():
                at = places - _signed(section.address)
                at = at[(at >= 0) & (at + width <= data.size)]
                rows = at[:, None] + np.arange(width)
                words = np.ascontiguousarray(data[rows]).view(f"<u{width}").reshape(-1)
                moved = words + np.array(sign * slide & (1 << 8 * width) - 1, dtype=f"<u{width}")
                data[rows] = moved.reshape(-1, 1).view(np.uint8)
        return section.address, data

    def _moved(self) -> list[tuple[Places, int, int]]:
        """(addresses, bytes of the word, sign) of what is moved: 64-bit, up to 6.14 inverse 32-bit, 32-bit words."""
        words = np.frombuffer(self._tail[: len(self._tail) // 4 * 4], dtype="<i4")
        zeros = np.flatnonzero(words == 0)
        if zeros.size not in (2, 3):
            raise UsageError(
                "behind the kernel's file are no places to move",
                hint="give the boot image (vmlinuz) of the guest's kernel",
            )
        ends = [*zeros[1:].tolist(), words.size]
        blocks = [
            words[start + 1 : end].astype(np.int64) for start, end in zip(zeros.tolist(), ends, strict=True)
        ]
        kinds = [(8, 1), (4, -1), (4, 1)] if len(blocks) == 3 else [(8, 1), (4, 1)]
        return [(block, width, sign) for block, (width, sign) in zip(blocks, kinds, strict=True)]

    def changed_at_boot(self, types: Types) -> list[tuple[Places, NDArray[np.int64]]]:
        """(addresses, lengths) of instructions that the kernel changes once, as it starts."""
        found = [self._alternatives(types), self._paravirt()]
        found += [self._relative(name, length) for name, length in CHANGED.items()]
        for name in self._sections:
            if name.startswith("runtime_ptr_"):
                found.append(self._relative(name, IMMEDIATE_BYTES))
            elif name.startswith("runtime_shift_"):
                found.append(self._relative(name, 1))
        return found

    def _relative(self, name: str, length: int) -> tuple[Places, NDArray[np.int64]]:
        """A section of 32-bit distances from where they are written."""
        section = self.section(name)
        if section is None:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        distances = np.frombuffer(self.data(section)[: section.size // 4 * 4], dtype="<i4").astype(np.int64)
        places = _signed(section.address) + 4 * np.arange(distances.size, dtype=np.int64) + distances
        return places, np.full(places.shape, length, dtype=np.int64)

    def _alternatives(self, types: Types) -> tuple[Places, NDArray[np.int64]]:
        """struct alt_instr grew and shrank: its layout is asked of the guest's types."""
        section, type_id = self.section(".altinstructions"), types.find("alt_instr")
        if section is None or type_id is None:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        size = types.size_bytes(type_id)
        place, length = types.path(type_id, "instr_offset"), types.path(type_id, "instrlen")
        if place is None or length is None or not size:
            raise UsageError("the guest's alt_instr has another shape")
        rows = np.frombuffer(self.data(section)[: section.size // size * size], dtype=np.uint8).reshape(
            -1, size
        )
        at = place.bit_offset // 8
        distances = np.ascontiguousarray(rows[:, at : at + 4]).view("<i4").reshape(-1).astype(np.int64)
        starts = _signed(section.address) + at + size * np.arange(len(rows), dtype=np.int64)
        return starts + distances, rows[:, length.bit_offset // 8].astype(np.int64)

    def _paravirt(self) -> tuple[Places, NDArray[np.int64]]:
        """struct paravirt_patch_site, up to 6.7: a pointer, a type, a length."""
        section = self.section(".parainstructions")
        if section is None:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        # The last is not filled up to its size.
        data = self.data(section) + bytes(-section.size % PARAVIRT_SITE_BYTES)
        rows = np.frombuffer(data, dtype=np.uint8).reshape(-1, PARAVIRT_SITE_BYTES)
        places = np.ascontiguousarray(rows[:, :8]).view("<i8").reshape(-1)
        return places.astype(np.int64), rows[:, 9].astype(np.int64)


def _signed(address: int) -> int:
    return address - (1 << 64) if address >> 63 else address
