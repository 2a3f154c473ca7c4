"""Low pages outlive a reboot and a vmon that died: a probe that nothing leads to any more is found there and cleared.

Reads the low pages that are not empty, writes zeros over those of a dead probe. Its page of page-table entries is what
it is known by: every entry in it is one that vmon writes, and leads to a low page; it is written first and cleared
last, so a probe that was half made or half cleared is known too. What looks so and is none lies in memory that Linux
never uses. A hostile guest can have its own low memory cleared. Source: vmon.probe.place, vmon.probe.install.
"""

from __future__ import annotations

import numpy as np

from vmon.arch.x86_64.paging import FRAME_MASK
from vmon.core.address import PAGE_SHIFT, PAGE_SIZE_BYTES, Gpa
from vmon.core.ports import Patch, PatchCode, WritePhys
from vmon.linux.kernel import Kernel
from vmon.probe.abi import Abi
from vmon.probe.place import NOT_EMPTY, MappedPage, encode_entries, find_low_pages


def clear_leftovers(kernel: Kernel, write: WritePhys, code: PatchCode, abi: Abi) -> int:
    """How many pages were cleared, those of code in a pause. Only where the slot is free: else the probe is alive."""
    low = find_low_pages(kernel)
    full = {page for run, why in low.refused if why == NOT_EMPTY for page in run.each()}
    free = {page for run in low.usable for page in run.each()}
    read = kernel.memory.phys.read
    cleared = 0
    for table in sorted(full):
        pages = pages_of(read(table, PAGE_SIZE_BYTES), abi)
        if not pages or table in pages or not pages.keys() <= full | free:
            continue
        own = sorted(pages.keys() & full)
        ran = [page for page in own if pages[page]]
        # A processor that is emulated remembers the code, across a reboot too.
        code.patch([Patch(page, read(page, PAGE_SIZE_BYTES), bytes(PAGE_SIZE_BYTES)) for page in ran])
        for page in [*(page for page in own if not pages[page]), table]:
            write.write(page, bytes(PAGE_SIZE_BYTES))
        cleared += len(own) + 1
    return cleared


def pages_of(table: bytes, abi: Abi) -> dict[Gpa, bool]:
    """The low pages that a probe's page of page-table entries leads to, and whether each holds code; else none."""
    config, state, rules = (abi.sizes[name] >> PAGE_SHIFT for name in ("CONFIG_AT", "STATE_AT", "RULES_AT"))
    entries: list[int] = np.frombuffer(table, dtype="<u8")[:rules].tolist()
    found: dict[Gpa, bool] = {}
    for number, entry in enumerate(entries):
        page = MappedPage(Gpa(entry & FRAME_MASK), writable=number >= state, executable=number < config)
        if entry:
            both = (encode_entries([page], globally=globally) for globally in (True, False))
            if not page.gpa or entry.to_bytes(8, "little") not in both:
                return {}
            found[page.gpa] = page.executable
    return found if entries[0] else {}
