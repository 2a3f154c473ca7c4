"""Code can live in a guest without asking it for memory: below 640 KiB Linux keeps pages that it never hands out.

Reads the kernel's own map of RAM (e820), the `struct page` of each low page, where the real-mode trampoline lies,
the pages themselves, and the page-table entry of the free slot; writes nothing. A low page is usable when all of this
holds:

- it lies in 0x1000..0x97fff and in RAM of the machine and, whole, in RAM of e820: what firmware keeps for itself is
  reserved too, but under another type;
- PG_reserved is set, so no allocator ever gives it out. Since 5.13 that is so for all of the first MiB
  (f1d4d47c5851), before for the first 64 KiB;
- no part of the real-mode trampoline is in it: CPUs start there, at hotplug and after suspend;
- all of its bytes are zero. What is not zero was written by firmware (its stack at 0x6000, used again by a resume from
  S3), by the boot loader (the kernel's setup code, command line) or by an earlier vmon. Most of it is dead, none of it
  can be told from what is not, and nobody needs those twelve pages.

Another probe or a kernel module may do the same and pick the same pages: zero is not owned. kdump copies this memory
away and back. A hostile guest can lie about each of these; then its own memory is what suffers, and the host's view of
the probe. The slot: kernel text is mapped by level2_kernel_pgt, one 2 MiB entry each, and the image never starts below
16 MiB, so its entry 0 is free. That table is shared by all processes; with page-table isolation the kernel half of each
has it, the user half does not, and the probe runs in the kernel half alone. A global entry would stay in the TLB for
user mode all the same, for Meltdown to read: the probe's are global only where the kernel's own are.
Sources: arch/x86/realmode/init.c, arch/x86/kernel/{setup,e820,head_64.S}, arch/x86/mm/{init,pti}.c, mm/mm_init.c.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from vmon.arch.x86_64.paging import (
    FRAME_MASK,
    INDEX_MASK,
    NO_EXECUTE,
    PAGE_SIZE_BIT,
    PRESENT,
    WRITABLE,
    levels_for,
)
from vmon.core.address import HUGE_PAGE_SIZE_BYTES, PAGE_SHIFT, PAGE_SIZE_BYTES, Gpa, Gva
from vmon.core.errors import BadStructure, GuestDataError, NotSupported, UsageError
from vmon.core.ports import Patch
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel

SLOT_GVA = Gva(0xFFFF_FFFF_8000_0000)
SLOT_BYTES = HUGE_PAGE_SIZE_BYTES
PMD_SHIFT = 21

FIRST_PAGE, END_PAGE = 0x1, 0x98
"""From behind the interrupt vectors to what a PC's firmware keeps below 640 KiB."""
NOT_EMPTY = "not empty"
E820_RAM = 1
MAX_E820_ENTRIES = 4096
MAX_TRAMPOLINE_BYTES = 1 << 20

ACCESSED, DIRTY, GLOBAL = 1 << 5, 1 << 6, 1 << 8
ENTRIES = 512

WANTS = Wants(
    symbols=(
        *("level2_kernel_pgt", "real_mode_header", "real_mode_blob", "real_mode_blob_end", "e820_table"),
        "__default_kernel_pte_mask",
    ),
    # flags became a structure of its own, memdesc_flags_t, between 6.12 and 6.18.
    structs={"page": "flags.f|flags", "e820_table": "nr_entries", "e820_entry": "addr size type"},
    enums=("pageflags",),
)


class PageRun(NamedTuple):
    """Pages of guest-physical memory, one after another."""

    gpa: Gpa
    pages: int

    def each(self) -> Iterator[Gpa]:
        """Where every one of them begins."""
        return (Gpa(self.gpa + PAGE_SIZE_BYTES * number) for number in range(self.pages))


@dataclass(frozen=True, slots=True)
class LowPages:
    """The judgement of the pages from FIRST_PAGE on."""

    usable: tuple[PageRun, ...]
    refused: tuple[tuple[PageRun, str], ...]
    """The others, each run with the reason."""

    @property
    def pages(self) -> int:
        """How many are usable."""
        return sum(run.pages for run in self.usable)


@dataclass(frozen=True, slots=True)
class Slot:
    """The 2 MiB of kernel address space where our pages may appear."""

    gva: Gva
    entry_gpa: Gpa
    """Where its page-table entry lies: the one word to write."""
    entry: int
    """What stands there; 0 when the slot is free."""

    @property
    def table_gpa(self) -> Gpa:
        """Where the page of page-table entries lies that it leads to."""
        return Gpa(self.entry & FRAME_MASK)

    @property
    def free(self) -> bool:
        """Whether nothing is mapped there. An entry that is not zero is somebody's, present or not."""
        return self.entry == 0


class MappedPage(NamedTuple):
    """A page to appear in the slot."""

    gpa: Gpa
    writable: bool = False
    executable: bool = False


def find_low_pages(kernel: Kernel) -> LowPages:
    """Pages below 640 KiB that nobody uses. 1 to 3 ms. Raises GuestDataError when the kernel can't be asked."""
    ram = _read_e820(kernel)
    flags = _read_page_flags(kernel)
    trampoline = _trampoline(kernel)
    phys = kernel.memory.phys
    verdicts = []
    for page in range(FIRST_PAGE, END_PAGE):
        start, end = page << PAGE_SHIFT, page + 1 << PAGE_SHIFT
        if not any(low <= start and end <= high for low, high in ram):
            why = "not RAM for the kernel"
        elif not flags[page]:
            why = "the guest may hand it out"
        elif start < trampoline[1] and trampoline[0] < end:
            why = "real-mode trampoline"
        else:
            try:
                why = NOT_EMPTY if any(phys.read(Gpa(start), PAGE_SIZE_BYTES)) else ""
            except GuestDataError:
                why = "not RAM of the machine"
        verdicts.append((page, why))
    usable: list[PageRun] = []
    refused: list[tuple[PageRun, str]] = []
    for reason, group in groupby(verdicts, key=lambda verdict: verdict[1]):
        pages = [page for page, _ in group]
        run = PageRun(Gpa(pages[0] << PAGE_SHIFT), len(pages))
        if reason:
            refused.append((run, reason))
        else:
            usable.append(run)
    return LowPages(tuple(usable), tuple(refused))


def _read_e820(kernel: Kernel) -> list[tuple[int, int]]:
    """Start and end of each stretch of RAM. The entries follow the count directly: the structure is packed."""
    memory, table, entry = kernel.memory, kernel.profile["e820_table"], kernel.profile["e820_entry"]
    place = memory.u64(kernel.symbol("e820_table"))
    count = memory.u32(Gva(place + table.offset("nr_entries")))
    if not 0 < count <= MAX_E820_ENTRIES:
        raise BadStructure(f"{count} entries", field="e820_table.nr_entries", address=place)
    data = memory.read(Gva(place + table.offset("nr_entries") + 4), count * entry.size)

    def number(at: int, field: str) -> int:
        layout = entry[field]
        return int.from_bytes(data[at + layout.offset : at + layout.offset + layout.size], "little")

    starts = [at for at in range(0, len(data), entry.size) if number(at, "type") == E820_RAM]
    return list(_joined((number(at, "addr"), number(at, "addr") + number(at, "size")) for at in starts))


def _joined(stretches: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Stretches that touch as one."""
    last: tuple[int, int] | None = None
    for low, high in sorted(stretches):
        if last is not None and low <= last[1]:
            last = last[0], max(last[1], high)
            continue
        if last is not None:
            yield last
        last = low, high
    if last is not None:
        yield last


def _read_page_flags(kernel: Kernel) -> list[bool]:
    """For each low page, whether PG_reserved is set."""
    try:
        bit = kernel.profile.enums["pageflags"]["PG_reserved"]
    except KeyError:
        raise BadStructure("this kernel has no such flag", field="PG_reserved") from None
    page = kernel.profile["page"]
    flags = page["flags.f"]
    if not 0 <= bit < 8 * flags.size or page.size > PAGE_SIZE_BYTES:
        raise BadStructure(f"bit {bit} of {flags.size} bytes", field="page.flags")
    base = kernel.memory.bases.vmemmap_base
    data = kernel.memory.read(base, END_PAGE * page.size)
    starts = range(flags.offset, len(data), page.size)
    return [bool(int.from_bytes(data[at : at + flags.size], "little") >> bit & 1) for at in starts]


def _trampoline(kernel: Kernel) -> tuple[int, int]:
    """Guest-physical start and end of the code that CPUs start with."""
    size = kernel.symbol("real_mode_blob_end") - kernel.symbol("real_mode_blob")
    header = Gva(kernel.memory.u64(kernel.symbol("real_mode_header")))
    if not 0 < size <= MAX_TRAMPOLINE_BYTES:
        raise BadStructure(f"a trampoline of {size} bytes", field="real_mode_blob", address=header)
    start = kernel.memory.gpa(header)
    return start, start + size


def find_slot(kernel: Kernel) -> Slot:
    """The slot and what stands in it. Raises BadStructure when the tables are not those of a kernel."""
    memory = kernel.memory
    table = memory.bases.page_table_root
    for level in levels_for(memory.bases.la57):
        place = Gpa(table + 8 * ((SLOT_GVA >> level.shift) & INDEX_MASK))
        entry = int.from_bytes(memory.phys.read(place, 8), "little")
        if level.shift == PMD_SHIFT:
            break
        if not entry & PRESENT or (level.leaf_allowed and entry & PAGE_SIZE_BIT):
            raise BadStructure(f"no {level.name} behind the slot", field="init_top_pgt", address=place)
        table = Gpa(entry & FRAME_MASK)
    named = memory.gpa(kernel.symbol("level2_kernel_pgt"))
    if table != named:
        raise BadStructure(
            f"the tables lead to {table:#x}, the symbol to {named:#x}",
            field="level2_kernel_pgt",
            address=place,
        )
    return Slot(SLOT_GVA, place, entry)


def maps_globally(kernel: Kernel) -> bool:
    """Whether this kernel's own pages stay in the TLB whatever process runs: not so with page-table isolation.

    By what it takes out of its entries since 4.17 (8a57f4849f4f); who is not known to keep them does not.
    """
    if not kernel.has_symbol("__default_kernel_pte_mask"):
        return False
    return bool(kernel.memory.u64(kernel.symbol("__default_kernel_pte_mask")) & GLOBAL)


def encode_entries(pages: Sequence[MappedPage | None], *, globally: bool) -> bytes:
    """Entries of a page of page-table entries, in order; None leaves a hole. UsageError for what must not be.

    No page is both writable and executable, none is the user's. Global where the kernel's own are. Dirty only where
    writable: a CPU with shadow stacks takes dirty and read-only for one.
    """
    if len(pages) > ENTRIES:
        raise UsageError(f"a page table has {ENTRIES} entries, not {len(pages)}")
    return struct.pack(f"<{len(pages)}Q", *(_page_entry(page, GLOBAL if globally else 0) for page in pages))


def _page_entry(page: MappedPage | None, more: int) -> int:
    if page is None:
        return 0
    if page.gpa & ~FRAME_MASK or page.gpa < PAGE_SIZE_BYTES:
        raise UsageError(f"{page.gpa:#x} is not the address of a page that may be mapped")
    if page.writable and page.executable:
        raise UsageError(f"the page at {page.gpa:#x} is to be writable and executable")
    entry = page.gpa | PRESENT | ACCESSED | more
    if page.writable:
        entry |= WRITABLE | DIRTY
    return entry if page.executable else entry | NO_EXECUTE


def encode_table_entry(table: Gpa) -> int:
    """What the slot's entry must hold to lead to a page of page-table entries at `table`."""
    if table & ~FRAME_MASK or table < PAGE_SIZE_BYTES:
        raise UsageError(f"{table:#x} is not the address of a page table")
    return table | PRESENT | WRITABLE | ACCESSED | DIRTY


def mapping(slot: Slot, table: Gpa) -> Patch:
    """What makes the slot lead to a page of page-table entries; patched in one go, it fails where somebody unmaps that.

    NotSupported where something else is mapped there.
    """
    entry = encode_table_entry(table)
    if slot.entry not in (0, entry):
        raise NotSupported(f"somebody else's memory is mapped at {slot.gva:#x}")
    return Patch(slot.entry_gpa, slot.entry.to_bytes(8, "little"), entry.to_bytes(8, "little"))
