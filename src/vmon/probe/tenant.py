"""Whose pages lie where a probe would: nobody's, ours, those of another vmon, somebody else's.

Reads the slot, the low pages that are not empty, and the head of a probe's configuration, whose first members every
version has. A probe that was taken out leaves its pages behind and nothing that leads to them. A CPU may remember the
mapping all the same, so whoever comes next takes the very same pages: they are known by the configuration's head, and
by the boot that it names, for after a reboot the pages that the old kernel gave are somebody else's. A hostile guest
can write such pages itself: what they lead to is RAM of its own, and no page is both written and executed.
Source: probe/include/vmon_abi.h.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vmon.arch.x86_64.paging import FRAME_MASK, PRESENT
from vmon.core.address import PAGE_SHIFT, PAGE_SIZE_BYTES, Gpa
from vmon.core.errors import GuestDataError
from vmon.core.ports import ReadPhys
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel
from vmon.probe.abi import Abi
from vmon.probe.config import MAGIC
from vmon.probe.leftover import pages_of
from vmon.probe.place import NOT_EMPTY, MappedPage, Slot, encode_entries, find_low_pages, find_slot

WANTS = Wants(symbols=("init_task",), structs={"task_struct": "stack_canary"})
HEAD = ("magic", "build", "table_gpa", "boot")

State = Literal["nobody", "mapped", "unmapped", "other vmon", "stranger"]


@dataclass(frozen=True, slots=True)
class Tenant:
    """What was found."""

    state: State
    """mapped, unmapped: a probe of this very build."""
    slot: Slot
    table_gpa: Gpa | None = None
    """Where the page of page-table entries lies of a probe of this build."""


def boot_of(kernel: Kernel) -> int:
    """A number that names this boot of this guest; 0 where nothing does.

    By what the kernel draws by lot as it starts: the canary of its first task, and where it put itself.
    """
    canary = kernel.read_one("task_struct", "stack_canary", kernel.symbol("init_task"))
    if "stack_canary" not in kernel.profile["task_struct"] or not canary["stack_canary"][0]:
        return 0
    bases = kernel.memory.bases
    places = (bases.text_gpa, bases.text_gva, bases.page_offset_base, bases.vmalloc_base, bases.vmemmap_base)
    words = np.array([int(canary["stack_canary"][0]), *places], dtype="<u8")
    return int.from_bytes(hashlib.blake2b(words.tobytes(), digest_size=8).digest(), "little") or 1


def find_tenant(kernel: Kernel, abi: Abi) -> Tenant:
    """Who is there. 1 to 3 ms where the slot is free. GuestDataError when the kernel can't be asked."""
    slot = find_slot(kernel)
    phys = kernel.memory.phys
    if not slot.free:
        head = _head_behind(phys, slot.table_gpa, abi)
        if head is None:
            return Tenant("stranger", slot)
        return (
            Tenant("mapped", slot, slot.table_gpa)
            if head["build"] == abi.build
            else Tenant("other vmon", slot)
        )
    boot = boot_of(kernel)
    low = find_low_pages(kernel)
    full = {page for run, why in low.refused if why == NOT_EMPTY for page in run.each()}
    free = {page for run in low.usable for page in run.each()}
    for page in sorted(full):
        head = _head(phys, page, abi)
        if head is None or not boot or head["boot"] != boot:
            continue
        if head["build"] != abi.build:
            return Tenant("other vmon", slot)
        table = Gpa(head["table_gpa"])
        if table in full and _leads_to(phys, table, page, {*full, *free}, abi):
            return Tenant("unmapped", slot, table)
    return Tenant("nobody", slot)


def _head(phys: ReadPhys, page: Gpa, abi: Abi) -> dict[str, int] | None:
    """The first members of a configuration; None where it is none."""
    found = {}
    for name in HEAD:
        offset, size = abi.member("config", name)
        found[name] = int.from_bytes(phys.read(Gpa(page + offset), size), "little")
    return found if found["magic"] == MAGIC else None


def _head_behind(phys: ReadPhys, table: Gpa, abi: Abi) -> dict[str, int] | None:
    number = abi.sizes["CONFIG_AT"] >> PAGE_SHIFT
    try:
        entry = int.from_bytes(phys.read(Gpa(table + 8 * number), 8), "little")
        return _head(phys, Gpa(entry & FRAME_MASK), abi) if entry & PRESENT else None
    except GuestDataError:
        return None


def _leads_to(phys: ReadPhys, table: Gpa, config: Gpa, ours: set[Gpa], abi: Abi) -> bool:
    """Whether a page holds the page-table entries of a whole probe with this configuration, as vmon writes them.

    `ours` are pages that a probe may lie in.
    """
    data = phys.read(table, PAGE_SIZE_BYTES)
    entries: list[int] = np.frombuffer(data, dtype="<u8").tolist()
    low = pages_of(data, abi)
    needed = (
        (0, len(abi.code)),
        (abi.sizes["CONFIG_AT"], abi.size("config")),
        (abi.sizes["STATE_AT"], abi.size("state")),
    )
    for offset, size in needed:
        first = offset >> PAGE_SHIFT
        if not all(entries[first : first + -(-size // PAGE_SIZE_BYTES)]):
            return False
    if entries[abi.sizes["CONFIG_AT"] >> PAGE_SHIFT] & FRAME_MASK != config:
        return False
    rules = abi.sizes["RULES_AT"] >> PAGE_SHIFT
    used = [number for number, entry in enumerate(entries) if entry]
    pages = [Gpa(entries[number] & FRAME_MASK) for number in used]
    given = [number for number in used if number >= rules]
    return (
        bool(low)
        and low.keys() <= ours
        and len({table, *pages}) == len(pages) + 1
        and all(_as_written(entries[number], abi, number) for number in given)
        and bool(phys.contains(np.array(pages, dtype=np.uint64), PAGE_SIZE_BYTES).all())
    )


def _as_written(entry: int, abi: Abi, number: int) -> bool:
    """Whether a page that the guest's kernel gave is mapped as vmon maps it: rules to be read, the rest written too."""
    page = Gpa(entry & FRAME_MASK)
    if not page:
        return False
    mapped = MappedPage(page, writable=number >= abi.sizes["LEDGER_AT"] >> PAGE_SHIFT)
    both = (encode_entries([mapped], globally=globally) for globally in (True, False))
    return entry.to_bytes(8, "little") in both
