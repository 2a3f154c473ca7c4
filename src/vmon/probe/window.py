"""The window is 2 MiB of the guest's kernel half that the probe lives in: which page lies behind which address.

Reads one page of page-table entries, writes some of them through the WritePhys port. The guest can change its own page
tables: what is read from them is taken for a place in RAM or refused.
"""

from __future__ import annotations

import numpy as np

from vmon.arch.x86_64.paging import FRAME_MASK, PRESENT
from vmon.core.address import PAGE_SIZE_BYTES, Gpa
from vmon.core.errors import BadStructure
from vmon.core.ports import ReadPhys, WritePhys
from vmon.probe.place import SLOT_GVA, MappedPage, encode_entries


class Window:
    """The probe's pages by their offset in the window."""

    def __init__(self, phys: ReadPhys, write: WritePhys, table_gpa: Gpa, *, globally: bool = False) -> None:
        """`globally`: whether the guest's kernel maps its own pages so (`maps_globally`)."""
        self._phys = phys
        self._write = write
        self.table_gpa = table_gpa
        """Where the page of page-table entries lies."""
        self._globally = globally
        self._pages: list[Gpa | None] = []

    def entry(self, offset: int) -> int:
        """The page-table entry of an offset."""
        at = Gpa(self.table_gpa + 8 * (offset // PAGE_SIZE_BYTES))
        return int.from_bytes(self._phys.read(at, 8), "little")

    def map(self, offset: int, pages: list[Gpa], *, writable: bool = False, executable: bool = False) -> None:
        """Put pages behind an offset. Only entries that never were present: no CPU remembers them."""
        entries = self.encode(pages, writable=writable, executable=executable)
        self._write.write(Gpa(self.table_gpa + 8 * (offset // PAGE_SIZE_BYTES)), entries)

    def encode(self, pages: list[Gpa], *, writable: bool = False, executable: bool = False) -> bytes:
        """The entries that `map` writes for pages."""
        return encode_entries(
            [MappedPage(page, writable, executable) for page in pages], globally=self._globally
        )

    def pages(self, offset: int, size_bytes: int) -> list[Gpa]:
        """Pages behind a part of the window; BadStructure where one is not there."""
        first = offset // PAGE_SIZE_BYTES
        count = -(-(offset % PAGE_SIZE_BYTES + size_bytes) // PAGE_SIZE_BYTES)
        # What lies behind an offset stays there for the guest's life: the table is read where it is not known yet.
        for known in (True, False):
            if not known:
                self._read_table()
            pages = [page for page in self._pages[first : first + count] if page is not None]
            if len(pages) == count:
                return pages
        raise BadStructure("a page of the probe is not there", field="vmon_window", address=SLOT_GVA + offset)

    def _read_table(self) -> None:
        table = self._phys.read(self.table_gpa, PAGE_SIZE_BYTES)
        self._pages = [
            Gpa(entry & FRAME_MASK) if entry & PRESENT else None
            for entry in np.frombuffer(table, dtype="<u8").tolist()
        ]

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Bytes of the window."""
        pieces = [self._phys.read(gpa, size) for gpa, size in self._pieces(offset, size_bytes)]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write(self, offset: int, data: bytes) -> None:
        """Change bytes of the window that are no code."""
        at = 0
        for gpa, size in self._pieces(offset, len(data)):
            self._write.write(gpa, data[at : at + size])
            at += size

    def _pieces(self, offset: int, size_bytes: int) -> list[tuple[Gpa, int]]:
        """Where a part of the window lies, in runs of neighbouring pages."""
        if size_bytes <= 0:
            return []
        pages, inside = self.pages(offset, size_bytes), offset % PAGE_SIZE_BYTES
        if len(pages) == 1:
            return [(Gpa(pages[0] + inside), size_bytes)]
        pieces = []
        for start, length in runs(pages):
            size = min(length - inside, size_bytes)
            pieces.append((Gpa(start + inside), size))
            size_bytes -= size
            inside = 0
        return pieces


def runs(pages: list[Gpa]) -> list[tuple[Gpa, int]]:
    """Neighbouring pages joined: (start, bytes)."""
    found: list[tuple[Gpa, int]] = []
    for page in pages:
        if found and found[-1][0] + found[-1][1] == page:
            found[-1] = (found[-1][0], found[-1][1] + PAGE_SIZE_BYTES)
        else:
            found.append((page, PAGE_SIZE_BYTES))
    return found
