"""Kernel-virtual memory of a running guest: a pointer is in the direct map, in the image, or needs a page walk.

Reads through the ReadPhys port that it is given. A hostile pointer ends in NotMapped or in a row of zeros, never in
a wild read: every address is turned into RAM or refused. Nothing is cached, so a guest that moves is seen as it is.
Source: Documentation/arch/x86/x86_64/mm.rst, arch/x86/include/asm/page_64.h.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vmon.arch.x86_64.paging import NOT_MAPPED, translate, translate_many
from vmon.core.address import PAGE_SIZE_BYTES, Gpa, Gva
from vmon.core.errors import BadStructure, NotMapped, PhysReadError
from vmon.core.ports import ReadPhys

MAX_STRING_BYTES = 4096


@dataclass(frozen=True, slots=True)
class KernelBases:
    """Where this boot put things. All of it is read from RAM."""

    text_gpa: Gpa
    text_gva: Gva
    image_size_bytes: int
    kaslr_slide: int
    page_offset_base: Gva
    vmalloc_base: Gva
    vmemmap_base: Gva
    page_table_root: Gpa
    la57: bool


class KernelMemory:
    """Reads of one kernel's memory by virtual address."""

    def __init__(self, phys: ReadPhys, bases: KernelBases) -> None:
        self.phys = phys
        self.bases = bases
        self._page_offset = bases.page_offset_base
        self._ram_end = phys.ranges[-1].end_gpa if phys.ranges else 0
        self._text = bases.text_gva
        self._image_size = bases.image_size_bytes

    def gpa(self, gva: Gva) -> Gpa:
        """Guest-physical address of a kernel pointer; NotMapped when there is none."""
        offset = gva - self._page_offset
        if 0 <= offset < self._ram_end:
            return Gpa(offset)
        offset = gva - self._text
        if 0 <= offset < self._image_size:
            return Gpa(self.bases.text_gpa + offset)
        found = translate(self.phys, self.bases.page_table_root, gva, self.bases.la57)
        if found is None:
            raise NotMapped("no page behind a kernel address", address=gva)
        return found.gpa

    def gpas(self, gvas: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Guest-physical address of each kernel pointer; NOT_MAPPED where there is none."""
        result = gvas - np.uint64(self._page_offset)
        rest = result >= np.uint64(self._ram_end)
        if rest.any():
            offset = gvas - np.uint64(self._text)
            in_image = rest & (offset < np.uint64(self._image_size))
            result[in_image] = offset[in_image] + np.uint64(self.bases.text_gpa)
            walk = np.flatnonzero(rest & ~in_image)
            if walk.size:
                result[walk] = NOT_MAPPED
                # Only canonical kernel addresses can be mapped here: null and user pointers are common, walks are not.
                walk = walk[gvas[walk] >= np.uint64(0xFF00_0000_0000_0000)]
                roots = np.full(walk.shape, self.bases.page_table_root, dtype=np.uint64)
                result[walk] = translate_many(self.phys, roots, gvas[walk], self.bases.la57)
        return result

    def mapped(self, gvas: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Whether there is RAM behind each kernel pointer: what is not, reads as zeros in a gather."""
        return self.phys.contains(self.gpas(gvas), 1)

    def read(self, gva: Gva, size_bytes: int) -> bytes:
        """Exactly `size_bytes` bytes; NotMapped or PhysReadError says where it ends."""
        offset = gva - self._page_offset
        if 0 <= offset < self._ram_end:
            return self.phys.read(Gpa(offset), size_bytes)
        offset = gva - self._text
        if offset >= 0 and offset + size_bytes <= self._image_size:
            return self.phys.read(Gpa(self.bases.text_gpa + offset), size_bytes)
        pieces: list[bytes] = []
        while size_bytes > 0:
            piece = min(size_bytes, PAGE_SIZE_BYTES - gva % PAGE_SIZE_BYTES)
            pieces.append(self.phys.read(self.gpa(gva), piece))
            gva = Gva(gva + piece)
            size_bytes -= piece
        return b"".join(pieces)

    def u64(self, gva: Gva) -> int:
        """One 64-bit word."""
        return int.from_bytes(self.read(gva, 8), "little")

    def u32(self, gva: Gva) -> int:
        """One 32-bit word."""
        return int.from_bytes(self.read(gva, 4), "little")

    def string(self, gva: Gva, limit: int = 256) -> bytes:
        """A NUL-ended string of at most `limit` bytes; cut there, and at the end of what is mapped."""
        if limit > MAX_STRING_BYTES:
            raise BadStructure(f"a string limit of {limit} bytes", address=gva)
        pieces: list[bytes] = []
        while limit > 0:
            piece = min(limit, PAGE_SIZE_BYTES - gva % PAGE_SIZE_BYTES)
            try:
                data = self.read(gva, piece)
            except (NotMapped, PhysReadError):
                if pieces:
                    break
                raise
            end = data.find(b"\0")
            if end >= 0:
                pieces.append(data[:end])
                break
            pieces.append(data)
            gva = Gva(gva + piece)
            limit -= piece
        return b"".join(pieces)

    def gather(self, gvas: NDArray[np.uint64], size_bytes: int) -> NDArray[np.uint8]:
        """The same size at many addresses; a row of zeros where that is not all mapped."""
        gpas = self.gpas(gvas)
        rows = self.phys.gather(gpas, size_bytes)
        # What the page tables map is contiguous only within a page: rows that cross one are read piece by piece.
        first = gvas - np.uint64(self._page_offset) >= np.uint64(self._ram_end)
        if first.any():
            in_image = gvas - np.uint64(self._text) < np.uint64(self._image_size)
            crossing = (gvas & np.uint64(0xFFF)) + np.uint64(size_bytes) > np.uint64(PAGE_SIZE_BYTES)
            for row in np.flatnonzero(first & ~in_image & crossing & (gpas != NOT_MAPPED)).tolist():
                try:
                    data = self.read(Gva(int(gvas[row])), size_bytes)
                    rows[row] = np.frombuffer(data, dtype=np.uint8)
                except (NotMapped, PhysReadError):
                    rows[row] = 0
        return rows
