"""What a probe must look like follows from the guest's kernel and from our own code: each byte of it can be compared.

Reads the kernel's text once (30 to 60 ms), then at every check a few pages and each changed instruction; `repair`
alone writes. A hostile guest can change anything of the probe at any moment, also back again between two checks. What
changes by itself is not compared (counters, the ring, who carries tags), nor are the words by which any vmon switches
the probe: who wrote them last compares them. A page table is put right in memory; what a CPU remembers of a wrong one
can't be reached from here. Sources of what is compared: probe/src, vmon.probe.plan.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from vmon.arch.x86_64.paging import NO_EXECUTE, PRESENT, USER
from vmon.core.address import PAGE_SIZE_BYTES, Gpa, Gva
from vmon.core.errors import GuestDataError
from vmon.core.ports import Patch, PatchCode, PauseReport, ReadPhys, WritePhys
from vmon.core.records.probe import DifferenceRecord
from vmon.linux.kernel import Kernel
from vmon.probe.abi import Abi
from vmon.probe.place import SLOT_GVA, Slot, encode_table_entry, find_slot, mapping
from vmon.probe.plan import Plan, encode_config, make_plan, undo, way_of
from vmon.probe.sites import find_strangers, read_text, survey
from vmon.probe.window import Window

LIVE = ("gates", "ring_slots", "enabled", "log_kinds", "beat", "table_at", "enforce", "tags", "reader")
"""Words of struct vmon_config that change while the probe is at work."""
AGAIN_S = 0.005
"""What another vmon is just changing is no difference: it is looked at again so much later."""
BREAKPOINT = 0xCC
MAX_SHOWN_BYTES = 16


def plan_of(kernel: Kernel, abi: Abi, window: Window) -> Plan:
    """What was to be written to this guest when its probe was made; some or all of it is written already."""
    text = read_text(kernel)
    there = undo(text.gva, text.gpa, window.read(0, len(abi.code)), list(find_strangers(text)), abi)
    return make_plan(kernel, abi, survey(kernel, text.patched(there), way_of(abi, window)))


@dataclass(frozen=True, slots=True)
class Place:
    """Bytes of a guest that are known."""

    what: str
    """instruction, code or configuration."""
    gva: Gva
    gpa: Gpa
    data: bytes
    before: bytes = b""
    """Of an instruction: what the kernel has there without a probe."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Bytes that are not what they must be."""

    what: str
    gva: Gva
    gpa: Gpa
    expected: bytes
    found: bytes
    undone: bool = False
    """Whether it is as it would be without a probe."""

    def record(self) -> DifferenceRecord:
        """For people and programs."""
        said = f"{self.what} at {self.gva:#x}"
        if self.what == "instruction" and self.undone:
            said += " leads past the probe again: what is done there is neither seen nor refused"
        elif self.what == "instruction" and self.found[:1] == bytes([BREAKPOINT]):
            said += " is a breakpoint: a kprobe of the guest, or text that is being patched"
        elif self.what == "page table":
            said = "the kernel's page tables do not lead to the probe any more"
        elif self.what == "slot" and self.undone:
            said += " is empty: the probe is not mapped any more"
        else:
            said += f" is {_hex(self.found)}, not {_hex(self.expected)}"
        return DifferenceRecord(
            what=self.what, address=self.gva, expected=_hex(self.expected), found=_hex(self.found), said=said
        )


def _hex(data: bytes) -> str:
    return data[:MAX_SHOWN_BYTES].hex(" ") + ("..." if len(data) > MAX_SHOWN_BYTES else "")


class Seal:
    """What must be true of a probe until it is taken out."""

    def __init__(
        self,
        phys: ReadPhys,
        table_gpa: Gpa,
        places: Sequence[Place],
        find: Callable[[], Slot],
        entries: dict[int, int],
    ) -> None:
        """`entries` are page-table entries by their number; others stay what they are now, or come to be data."""
        self._phys = phys
        self._table_gpa = table_gpa
        self._places = places
        self._find = find
        self._entries = self._read_entries()
        for number, entry in entries.items():
            self._entries[number] = entry

    def check(self) -> list[Difference]:
        """Everything that differs; half a millisecond when nothing does. Raises for no guest, only for its host."""
        first = list(self._differences())
        if not first:
            return []
        time.sleep(AGAIN_S)
        # A second look at the same place counts, whatever stands there by then.
        known = {(found.what, found.gva) for found in first}
        return [found for found in self._differences() if (found.what, found.gva) in known]

    def undone(self, differences: Sequence[Difference]) -> bool:
        """Whether every instruction is as it would be without a probe: it was taken out."""
        gone = sum(found.what == "instruction" and found.undone for found in differences)
        return gone == sum(place.what == "instruction" for place in self._places)

    def repair(self, differences: Sequence[Difference], write: WritePhys, code: PatchCode) -> PauseReport:
        """Put right what differs, instructions in one pause; a breakpoint is left to the guest.

        CodeDiffers when the guest changes it once more meanwhile.
        """
        patches = []
        for found in differences:
            if found.what not in ("instruction", "code"):
                write.write(found.gpa, found.expected)
            elif found.what == "code" or found.found[0] != BREAKPOINT:
                patches.append(Patch(found.gpa, found.found, found.expected))
        # Another vmon may just be taking the mapping away to which the instructions lead.
        return (
            code.patch([mapping(self._find(), self._table_gpa), *patches]) if patches else PauseReport(0, 0)
        )

    def _differences(self) -> Iterator[Difference]:
        yield from self._slot()
        yield from self._page_table()
        for place in self._places:
            yield from self._compare(place)

    def _slot(self) -> Iterator[Difference]:
        expected = encode_table_entry(self._table_gpa).to_bytes(8, "little")
        try:
            slot = self._find()
        except GuestDataError:
            yield Difference("page table", SLOT_GVA, self._table_gpa, b"", b"")
            return
        found = slot.entry.to_bytes(8, "little")
        if found != expected:
            yield Difference("slot", SLOT_GVA, slot.entry_gpa, expected, found, undone=slot.free)

    def _read_entries(self) -> list[int]:
        entries: list[int] = np.frombuffer(self._phys.read(self._table_gpa, PAGE_SIZE_BYTES), "<u8").tolist()
        return entries

    def _page_table(self) -> Iterator[Difference]:
        found = self._read_entries()
        if found == self._entries:
            return
        for number, (old, new) in enumerate(zip(self._entries, found, strict=True)):
            if new == old:
                continue
            if not old and new & PRESENT and new & NO_EXECUTE and not new & USER:
                self._entries[number] = new  # a vmon was given more pages for rules or records
                continue
            yield Difference(
                "page-table entry",
                Gva(SLOT_GVA + number * PAGE_SIZE_BYTES),
                Gpa(self._table_gpa + 8 * number),
                old.to_bytes(8, "little"),
                new.to_bytes(8, "little"),
            )

    def _compare(self, place: Place) -> Iterator[Difference]:
        found = self._phys.read(place.gpa, len(place.data))
        if found == place.data:
            return
        if place.what == "instruction":
            yield Difference(place.what, place.gva, place.gpa, place.data, found, found == place.before)
            return
        pairs = enumerate(zip(place.data, found, strict=True))
        for same, group in groupby(pairs, key=lambda pair: pair[1][0] == pair[1][1]):
            if same:
                continue
            run = list(group)
            at, end = run[0][0], run[-1][0] + 1
            yield Difference(
                place.what,
                Gva(place.gva + at),
                Gpa(place.gpa + at),
                place.data[at:end],
                found[at:end],
            )


def seal(kernel: Kernel, abi: Abi, window: Window, plan: Plan) -> Seal:
    """What must be true of a probe that was installed after this plan. BadStructure where it has no pages."""
    bases = kernel.memory.bases
    places = [
        Place(
            "instruction", Gva(bases.text_gva + patch.gpa - bases.text_gpa), patch.gpa, patch.new, patch.old
        )
        for patch in plan.patches
    ]
    places += _pages("code", window, 0, bytes(plan.code))
    at = abi.sizes["CONFIG_AT"]
    config = encode_config(kernel, abi, plan, window.table_gpa)
    for start, end in fixed_runs(abi):
        places += _pages("configuration", window, at + start, config[start:end])
    entries = _entries(window, 0, len(plan.code), executable=True)
    entries |= _entries(window, at, len(config))
    entries |= _entries(window, abi.sizes["STATE_AT"], abi.size("state"), writable=True)
    return Seal(kernel.memory.phys, window.table_gpa, places, lambda: find_slot(kernel), entries)


def _entries(
    window: Window, offset: int, size_bytes: int, *, writable: bool = False, executable: bool = False
) -> dict[int, int]:
    """Page-table entries of a part of the window, by their number."""
    pages = window.pages(offset, size_bytes)
    found = np.frombuffer(window.encode(pages, writable=writable, executable=executable), "<u8").tolist()
    return dict(enumerate(found, start=offset // PAGE_SIZE_BYTES))


def fixed_runs(abi: Abi) -> list[tuple[int, int]]:
    """Parts of struct vmon_config that never change while a probe is in."""
    runs, at = [], 0
    for offset, size in sorted(abi.member("config", name) for name in LIVE):
        runs.append((at, offset))
        at = offset + size
    runs.append((at, abi.size("config")))
    return [(start, end) for start, end in runs if start < end]


def _pages(what: str, window: Window, offset: int, data: bytes) -> Iterator[Place]:
    """A part of the window, a place for each page of it."""
    end = offset + len(data)
    at = offset
    while at < end:
        upto = min(end, (at // PAGE_SIZE_BYTES + 1) * PAGE_SIZE_BYTES)
        (page,) = window.pages(at, upto - at)
        gpa = Gpa(page + at % PAGE_SIZE_BYTES)
        yield Place(what, Gva(SLOT_GVA + at), gpa, data[at - offset : upto - offset])
        at = upto
