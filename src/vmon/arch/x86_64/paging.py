"""x86-64 page tables are the same nine bits again and again: a table of levels and one walker.

Reads page-table entries through the ReadPhys port that it is given. A hostile guest can make tables that
point anywhere; every step is bounded by the number of levels, and an address that is not RAM ends the walk.
When the guest changes a table meanwhile, the walk gives either the old or the new page.
Source: Intel SDM vol. 3A 4.5, arch/x86/include/asm/pgtable_types.h.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vmon.core.address import Gpa, Gva
from vmon.core.errors import PhysReadError
from vmon.core.ports import ReadPhys


class Level(NamedTuple):
    """One level of the tree: how far to shift an address, and whether an entry may be a page."""

    name: str
    shift: int
    leaf_allowed: bool


LEVELS: tuple[Level, ...] = (
    Level("pgd", 48, False),
    Level("p4d", 39, False),
    Level("pud", 30, True),
    Level("pmd", 21, True),
    Level("pte", 12, True),
)

PRESENT = 1 << 0
WRITABLE = 1 << 1
USER = 1 << 2
PAGE_SIZE_BIT = 1 << 7
NO_EXECUTE = 1 << 63
FRAME_MASK = 0x000F_FFFF_FFFF_F000
ROOT_MASK = 0x000F_FFFF_FFFF_F000
INDEX_MASK = 0x1FF


class Translation(NamedTuple):
    """Where a guest-virtual address lies, and with which rights."""

    gpa: Gpa
    page_size_bytes: int
    writable: bool
    user: bool
    executable: bool


def levels_for(la57: bool) -> tuple[Level, ...]:
    """The levels in use: all five with LA57, else without the p4d step."""
    return LEVELS if la57 else LEVELS[1:]


def translate(phys: ReadPhys, root: Gpa, gva: Gva, la57: bool) -> Translation | None:
    """Walk the tables from `root`; None where no page is present. At most five reads of 8 bytes."""
    table = root & ROOT_MASK
    writable = user = executable = True
    for level in levels_for(la57):
        index = (gva >> level.shift) & INDEX_MASK
        try:
            entry = int.from_bytes(phys.read(Gpa(table + index * 8), 8), "little")
        except PhysReadError:
            return None
        if not entry & PRESENT:
            return None
        writable = writable and bool(entry & WRITABLE)
        user = user and bool(entry & USER)
        executable = executable and not entry & NO_EXECUTE
        if level.shift == 12 or (level.leaf_allowed and entry & PAGE_SIZE_BIT):
            size = 1 << level.shift
            gpa = (entry & FRAME_MASK & ~(size - 1)) | (gva & (size - 1))
            return Translation(Gpa(gpa), size, writable, user, executable)
        table = entry & FRAME_MASK
    return None


NOT_MAPPED = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


def translate_many(
    phys: ReadPhys, roots: NDArray[np.uint64], gvas: NDArray[np.uint64], la57: bool
) -> NDArray[np.uint64]:
    """Walk many addresses at once, each from its own root; NOT_MAPPED where no page is present.

    One gather per level, so a thousand addresses cost about what ten do.
    """
    return walk_many(phys, roots, gvas, la57)[0]


def walk_many(
    phys: ReadPhys, roots: NDArray[np.uint64], gvas: NDArray[np.uint64], la57: bool
) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """The same, and whether each address may be executed: no level on its way forbids it."""
    executable = np.ones(gvas.shape, dtype=bool)
    table = roots & np.uint64(ROOT_MASK)
    result = np.full(gvas.shape, NOT_MAPPED, dtype=np.uint64)
    alive = np.arange(gvas.size)
    for level in levels_for(la57):
        if not alive.size:
            break
        shift = np.uint64(level.shift)
        index = (gvas[alive] >> shift) & np.uint64(INDEX_MASK)
        entry = phys.gather(table[alive] + index * np.uint64(8), 8).view("<u8").reshape(-1)
        present = (entry & np.uint64(PRESENT)) != 0
        alive, entry = alive[present], entry[present]
        executable[alive] &= (entry & np.uint64(NO_EXECUTE)) == 0
        if level.shift == 12:
            leaf = np.ones(entry.shape, dtype=bool)
        elif level.leaf_allowed:
            leaf = (entry & np.uint64(PAGE_SIZE_BIT)) != 0
        else:
            leaf = np.zeros(entry.shape, dtype=bool)
        inside = np.uint64((1 << level.shift) - 1)
        ended = alive[leaf]
        result[ended] = (entry[leaf] & np.uint64(FRAME_MASK) & ~inside) | (gvas[ended] & inside)
        alive, entry = alive[~leaf], entry[~leaf]
        table[alive] = entry & np.uint64(FRAME_MASK)
    return result, executable & (result != NOT_MAPPED)
