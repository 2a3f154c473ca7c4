"""Memory of the kernel that may be executed is its text, a module's, or code that it generated: all of it has an owner.

Reads the kernel's page tables, all of its half, and the first bytes of pages that are nobody's. A module that took
itself off every list must still be executed from somewhere. Pages that are filled with traps or empty are no code.
When the guest maps meanwhile, a page can be missed; what has no owner is looked at again.
Sources: arch/x86/mm/pgtable.c, mm/execmem.c, as vmon.linux.code.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import numpy as np

from vmon.arch.x86_64.paging import NO_EXECUTE, PRESENT, USER, translate
from vmon.arch.x86_64.ranges import RangeWalk
from vmon.check.kinds import finding
from vmon.check.looks import settled
from vmon.check.pointers import INT3, in_filters
from vmon.core.address import PAGE_SIZE_BYTES, Gva
from vmon.core.coverage import Gaps
from vmon.core.records.finding import FindingRecord
from vmon.kernel.columns import Column
from vmon.linux import code
from vmon.linux.code import CodeMap
from vmon.linux.kernel import Kernel

WANTS = code.WANTS
KERNEL_HALF = {False: 0xFFFF_8000_0000_0000, True: 0xFF00_0000_0000_0000}
MAX_PAGES = 100_000
SHOWN_BYTES = 24


def check_executable(kernel: Kernel, gaps: Gaps, areas: Callable[[Gaps], CodeMap]) -> list[FindingRecord]:
    """Pages that may be executed and are nobody's, or may be written too. 5 to 20 ms for a small guest."""
    return settled(lambda seen: _look(kernel, areas(seen), seen), gaps)


def executable_pages(kernel: Kernel) -> tuple[Column, Column]:
    """Addresses and sizes of the pages of the kernel's half that the last level lets be executed, users' left out."""
    bases = kernel.memory.bases
    walk = RangeWalk(kernel.memory.phys, bases.page_table_root, bases.la57)
    gvas, sizes = [np.zeros(0, dtype=np.uint64)], [np.zeros(0, dtype=np.uint64)]
    for leaves in walk.leaves(KERNEL_HALF[bases.la57], 1 << 64):
        flags = leaves.entries & np.uint64(NO_EXECUTE | PRESENT | USER)
        may = flags == np.uint64(PRESENT)
        gvas.append(leaves.gvas[may])
        sizes.append(leaves.sizes[may])
    return np.concatenate(gvas), np.concatenate(sizes)


def _look(kernel: Kernel, areas: CodeMap, gaps: Gaps) -> dict[Hashable, FindingRecord]:
    gvas, sizes = executable_pages(kernel)
    # A large page is looked at in small ones: the kernel's text does not fill its last.
    counts = (sizes // np.uint64(PAGE_SIZE_BYTES)).astype(np.int64)
    within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    pages = np.repeat(gvas, counts) + within.astype(np.uint64) * np.uint64(PAGE_SIZE_BYTES)
    strange = pages[~areas.touches(pages, PAGE_SIZE_BYTES)]
    if strange.size > MAX_PAGES:
        gaps.add("executable memory", "bounded", f"{strange.size:,} pages are nobody's")
        strange = strange[:MAX_PAGES]
    data = kernel.memory.gather(strange, PAGE_SIZE_BYTES)
    strange = strange[((data != INT3) & (data != 0)).any(axis=1)]
    if not kernel.has_symbol("pack_list"):
        strange = strange[~in_filters(kernel, strange)]
    found = dict(
        _run(kernel, start, count) for start, count in _runs(strange.tolist()) if _may_run(kernel, start)
    )
    found.update(_writable(kernel, gvas.tolist()))
    return found


def _runs(pages: list[int]) -> list[tuple[int, int]]:
    """Pages that follow each other, as a start and a count."""
    runs: list[tuple[int, int]] = []
    for page in pages:
        if runs and page == runs[-1][0] + runs[-1][1] * PAGE_SIZE_BYTES:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((page, 1))
    return runs


def _may_run(kernel: Kernel, gva: int) -> bool:
    bases = kernel.memory.bases
    found = translate(kernel.memory.phys, bases.page_table_root, Gva(gva), bases.la57)
    return found is not None and found.executable


def _run(kernel: Kernel, start: int, count: int) -> tuple[Hashable, FindingRecord]:
    first = kernel.memory.read(Gva(start), SHOWN_BYTES).hex()
    evidence = [
        f"{count} pages from {start:#x} may be executed and are on no list",
        f"they start with {first}",
    ]
    return ("code.unknown", start), finding("code.unknown", f"{start:#x}", evidence, address=start)


def _writable(kernel: Kernel, gvas: list[int]) -> dict[Hashable, FindingRecord]:
    bases = kernel.memory.bases
    found: dict[Hashable, FindingRecord] = {}
    for gva in gvas:
        place = translate(kernel.memory.phys, bases.page_table_root, Gva(gva), bases.la57)
        if place is not None and place.executable and place.writable:
            evidence = [f"the page of {place.page_size_bytes} bytes at {gva:#x} may be written and executed"]
            found["code.writable", gva] = finding("code.writable", f"{gva:#x}", evidence, address=gva)
    return found
