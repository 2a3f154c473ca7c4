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

    def __init__(self, phys: ReadPhys, write: WritePhys, table_gpa: Gpa) -> None:
        self._phys = phys
        self._write = write
        self.table_gpa = table_gpa
        """Where the page of page-table entries lies."""
        self._table = b""
        self._pages: list[Gpa | None] = []

    def entry(self, offset: int) -> int:
        """The page-table entry of an offset."""
        at = Gpa(self.table_gpa + 8 * (offset // PAGE_SIZE_BYTES))
        return int.from_bytes(self._phys.read(at, 8), "little")

    def map(self, offset: int, pages: list[Gpa], *, writable: bool = False, executable: bool = False) -> None:
        """Put pages behind an offset. Only entries that never were present: no CPU remembers them."""
        entries = encode_entries([MappedPage(page, writable, executable) for page in pages])
        self._write.write(Gpa(self.table_gpa + 8 * (offset // PAGE_SIZE_BYTES)), entries)

    def pages(self, offset: int, size_bytes: int) -> list[Gpa]:
        """Pages behind a part of the window; BadStructure where one is not there."""
        # The whole table at each call, for the guest can change it; decoded where it differs from the last time.
        table = self._phys.read(self.table_gpa, PAGE_SIZE_BYTES)
        if table != self._table:
            self._table = table
            self._pages = [
                Gpa(entry & FRAME_MASK) if entry & PRESENT else None
                for entry in np.frombuffer(table, dtype="<u8").tolist()
            ]
        first = offset // PAGE_SIZE_BYTES
        found = self._pages[first : first - (-(offset % PAGE_SIZE_BYTES + size_bytes) // PAGE_SIZE_BYTES)]
        pages = [page for page in found if page is not None]
        if len(pages) < len(found) or not found:
            raise BadStructure(
                "a page of the probe is not there", field="vmon_window", address=SLOT_GVA + offset
            )
        return pages

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Bytes of the window."""
        if size_bytes <= 0:
            return b""
        inside = offset % PAGE_SIZE_BYTES
        pieces, left = [], size_bytes
        for start, length in runs(self.pages(offset, size_bytes)):
            size = min(length - inside, left)
            pieces.append(self._phys.read(Gpa(start + inside), size))
            left -= size
            inside = 0
        return b"".join(pieces)

    def write(self, offset: int, data: bytes) -> None:
        """Change bytes of the window that are no code."""
        inside = offset % PAGE_SIZE_BYTES
        at = 0
        for start, length in runs(self.pages(offset, len(data))):
            size = min(length - inside, len(data) - at)
            self._write.write(Gpa(start + inside), data[at : at + size])
            at += size
            inside = 0


def runs(pages: list[Gpa]) -> list[tuple[Gpa, int]]:
    """Neighbouring pages joined: (start, bytes)."""
    found: list[tuple[Gpa, int]] = []
    for page in pages:
        if found and found[-1][0] + found[-1][1] == page:
            found[-1] = (found[-1][0], found[-1][1] + PAGE_SIZE_BYTES)
        else:
            found.append((page, PAGE_SIZE_BYTES))
    return found
