"""What a process would read at an address, page by page: a frame of RAM, zeros, or one of the reasons why not.

Reads page tables below mm->pgd, whole tables at a time, and the areas of the mm. A private page that was never touched
has an empty entry and reads as zeros. An entry that is not present but not empty is a page that may not be accessed
(PROT_NONE: its frame number stands there inverted), one on swap, one that is being moved, or a marker. What is empty in
the area of a file is what the file's page cache has, as a process that touched it would get. A hostile guest owns its
tables: each page of RAM is taken for a table at most once, and who searches all of a process bounds it. When the guest
changes a table meanwhile, the old or the new page is read.
Sources: arch/x86/include/asm/{pgtable-invert,pgtable_64}.h, include/linux/{swap,swapops}.h.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vmon.arch.x86_64.paging import FRAME_MASK, LEVELS, NOT_MAPPED, PAGE_SIZE_BIT, PRESENT
from vmon.arch.x86_64.ranges import Leaves, RangeWalk
from vmon.core.address import PAGE_SIZE_BYTES, Gpa, Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure, GuestDataError, NoSuchProcess, NotMapped, UsageError
from vmon.core.records.memory import Memory, MissingRecord
from vmon.kernel.columns import Column
from vmon.kernel.profile import Wants
from vmon.linux import pagecache, vma
from vmon.linux.kernel import Kernel
from vmon.linux.spans import WHY, Spans, State, copy_frames, lacking, merged, tell

WANTS = (
    vma.WANTS
    | pagecache.WANTS
    | Wants(
        symbols=("nr_swapfiles",),
        structs={"mm_struct": "pgd", "task_struct": "pid mm", "file": "f_mapping"},
    )
)
PROT_NONE = 1 << 8
"""_PAGE_PROTNONE is the bit that is "global" in an entry that is present."""
SWAP_TYPE_SHIFT, SWAP_OFFSET_SHIFT = 59, 9
MARKER_TYPE, MARKER_VALUES = 31, 16
"""PTE_MARKER (5.19, 679d10331910) has the last type, and a few bits of flags as its offset."""
MAX_SWAP_FILES = 32
VM_UFFD_MISSING, VM_PFNMAP, VM_IO = 0x200, 0x400, 0x4000
MAX_READ_BYTES = 1 << 30
PIECE_BYTES = 16 << 20
AREAS_HINT = "`vmon maps TARGET PID` lists the areas"


class CachedPages(Protocol):
    """Finds pages of a file that are in memory though no process may map them."""

    def __call__(self, file: Gva, first: int, count: int) -> tuple[Column, Column]:
        """Of `count` pages of the struct file from page `first` on: those in memory, rising, and their frames."""
        ...


@dataclass(frozen=True, slots=True)
class Area:
    """One vm_area_struct."""

    start: int
    end: int
    flags: int
    file: Gva
    offset_pages: int
    private: bool
    """Whether what was never touched reads as zeros: no file and no driver answers for it."""


def cached_pages(kernel: Kernel) -> CachedPages | None:
    """Finds them by the file's page cache; None where the kernel's profile was not asked for what that needs."""
    if not kernel.profile.has("address_space", "i_pages") or not kernel.profile.has("file", "f_mapping"):
        return None

    def find(file: Gva, first: int, count: int) -> tuple[Column, Column]:
        try:
            mapping = int(kernel.read_one("file", "f_mapping", file)["f_mapping"][0])
            return pagecache.each_page(pagecache.find_pages(kernel, Gva(mapping), (first, first + count - 1)))
        except GuestDataError:
            # A file that is not there any more: none of its pages is known.
            nothing = np.zeros(0, dtype=np.uint64)
            return nothing, nothing

    return find


class UserMemory:
    """The memory of one mm. Made in about a millisecond; areas are those of that moment, pages those of each read."""

    def __init__(self, kernel: Kernel, mm: Gva, cached: CachedPages | None = None) -> None:
        self._kernel = kernel
        self._cached = cached
        self._root = Gpa(int(kernel.memory.gpas(kernel.read_one("mm_struct", "pgd", mm)["pgd"])[0]))
        if self._root == NOT_MAPPED:
            raise BadStructure("no page tables there", field="mm_struct.pgd", address=mm)
        _, columns = vma.find_vmas(kernel, mm)
        self.areas = [
            Area(start, end, flags, Gva(file), offset, not ops and not flags & VM_UFFD_MISSING)
            for start, end, flags, file, offset, ops in zip(
                *(
                    columns[name].tolist()
                    for name in ("vm_start", "vm_end", "vm_flags", "vm_file", "vm_pgoff", "vm_ops")
                ),
                strict=True,
            )
        ]
        self._broken_tables = 0

    def spans(self, area: Area, start: int = 0, end: int = 1 << 64) -> Iterator[Spans]:
        """What is in the part of an area that lies in [start, end), in pieces of at most 8 GiB."""
        at, end = max(area.start, start), min(area.end, end)
        if at >= end:
            return
        walk = RangeWalk(self._kernel.memory.phys, self._root, self._kernel.memory.bases.la57)
        last = Leaves(*[np.zeros(0, dtype=np.uint64)] * 3)
        for leaves in walk.leaves(at, end):
            if last.gvas.size:
                spans = self._spans(area, last, at, end)
                at = int(spans.gvas[-1] + spans.sizes[-1])
                yield spans
            last = leaves
        yield self._spans(area, last, at, end, whole=True)
        self._broken_tables += walk.repeated + walk.outside

    def tell_tables(self, gaps: Gaps) -> None:
        """Count the page tables that could not be followed since it was last told: what they map looks untouched."""
        if self._broken_tables:
            gaps.add("memory", "torn", "page tables that lead nowhere or in circles", self._broken_tables)
            self._broken_tables = 0

    def _spans(self, area: Area, leaves: Leaves, start: int, end: int, *, whole: bool = False) -> Spans:
        """The pages of `leaves` and what is between `start` and them; with `whole`, to `end`."""
        low, high = np.uint64(start), np.uint64(end)
        inside = (leaves.gvas < high) & (leaves.gvas + leaves.sizes > low)
        gvas, sizes, entries = leaves.gvas[inside], leaves.sizes[inside], leaves.entries[inside]
        gpas, states = self._decode(sizes, entries)
        starts = np.maximum(gvas, low)
        ends = np.minimum(gvas + sizes, high)
        gpas = np.where(gpas == NOT_MAPPED, gpas, gpas + (starts - gvas))
        # What lies before each of them.
        before = np.concatenate(([low], ends)) if whole else np.concatenate(([low], ends[:-1]))
        after = np.concatenate((starts, [high])) if whole else starts
        before = before[: after.size]
        empty = after > before
        hole_starts, hole_ends = before[empty], after[empty]
        hole_gpas = np.full(hole_starts.shape, NOT_MAPPED, dtype=np.uint64)
        state = State.ZERO if area.private else State.ABSENT
        hole_states = np.full(hole_starts.shape, state, dtype=np.uint8)
        if self._cached is not None and area.file and state is State.ABSENT and hole_starts.size:
            hole_starts, hole_ends, hole_gpas, hole_states = self._from_cache(area, hole_starts, hole_ends)
        starts = np.concatenate((starts, hole_starts))
        order = np.argsort(starts, kind="stable")
        return merged(
            starts[order],
            np.concatenate((ends, hole_ends))[order],
            np.concatenate((gpas, hole_gpas))[order],
            np.concatenate((states, hole_states))[order],
        )

    def _decode(self, sizes: Column, entries: Column) -> tuple[Column, NDArray[np.uint8]]:
        """Frame and state of each entry that is not empty."""
        present = (entries & np.uint64(PRESENT)) != 0
        large = sizes > np.uint64(PAGE_SIZE_BYTES)
        # A large page that is just being split is neither present nor PROT_NONE, but still large.
        kept = ~present & (
            ((entries & np.uint64(PROT_NONE)) != 0) | large & ((entries & np.uint64(PAGE_SIZE_BIT)) != 0)
        )
        words = np.where(kept, ~entries, entries)
        gpas = words & np.uint64(FRAME_MASK) & ~(sizes - np.uint64(1))
        there = present | kept
        states = np.full(entries.shape, State.THERE, dtype=np.uint8)
        inside = np.zeros(entries.shape, dtype=bool)
        for size in (1 << level.shift for level in LEVELS):
            own = sizes == np.uint64(size)
            inside[own] = self._kernel.memory.phys.contains(gpas[own], size)
        states[there & ~inside] = State.OUTSIDE
        gpas[~there | ~inside] = NOT_MAPPED
        if not there.all():
            away = ~there
            kinds = entries[away] >> np.uint64(SWAP_TYPE_SHIFT)
            offsets = (~entries[away] << np.uint64(5)) >> np.uint64(5 + SWAP_OFFSET_SHIFT)
            found = np.full(kinds.shape, State.MOVING, dtype=np.uint8)
            found[kinds < np.uint64(self._swap_files())] = State.SWAPPED
            found[(kinds == np.uint64(MARKER_TYPE)) & (offsets < np.uint64(MARKER_VALUES))] = State.GUARD
            states[away] = found
        return gpas, states

    def _swap_files(self) -> int:
        """Types below are files of swap; those above are used for pages that move, and other things."""
        kernel = self._kernel
        if not kernel.has_symbol("nr_swapfiles"):
            return 0
        return min(kernel.memory.u32(kernel.symbol("nr_swapfiles")), MAX_SWAP_FILES)

    def _from_cache(
        self, area: Area, starts: Column, ends: Column
    ) -> tuple[Column, Column, Column, NDArray[np.uint8]]:
        """The same holes, with the pages of the file that are in memory. One question for all of them."""
        assert self._cached is not None
        page, low = np.uint64(PAGE_SIZE_BYTES), np.uint64(area.start)
        first = area.offset_pages + (int(starts[0]) - area.start) // PAGE_SIZE_BYTES
        last = area.offset_pages + (int(ends[-1]) - 1 - area.start) // PAGE_SIZE_BYTES
        count = last + 1 - first
        indexes, frames = self._cached(area.file, first, count)
        wanted = indexes - np.uint64(first) < np.uint64(count)
        indexes, frames = indexes[wanted], frames[wanted]
        gvas = (indexes - np.uint64(area.offset_pages)) * page + low
        hole = np.searchsorted(starts, gvas, side="right") - 1
        # A hole may begin or end within a page, where the range that was asked for does.
        hole = np.maximum(hole, 0)
        begins, stops = np.maximum(gvas, starts[hole]), np.minimum(gvas + page, ends[hole])
        inside = begins < stops
        begins, stops, frames = begins[inside], stops[inside], frames[inside] + (begins - gvas)[inside]
        # What is left of the holes lies between the end of one page, or a hole's start, and what comes next.
        froms, tos = np.sort(np.concatenate((starts, stops))), np.sort(np.concatenate((begins, ends)))
        left = froms < tos
        froms, tos = froms[left], tos[left]
        absent = np.full(froms.shape, NOT_MAPPED, dtype=np.uint64)
        states = np.full(begins.size + froms.size, State.THERE, dtype=np.uint8)
        states[begins.size :] = State.ABSENT
        return (
            np.concatenate((begins, froms)),
            np.concatenate((stops, tos)),
            np.concatenate((frames, absent)),
            states,
        )

    def iter_memory(self, address: int, size_bytes: int) -> Iterator[Memory]:
        """The bytes at an address with what lacks, 16 MiB at a time. NotMapped where no area is in the range."""
        self._require_area(address, size_bytes)
        end = address + size_bytes
        for at in range(address - address % PIECE_BYTES, end, PIECE_BYTES):
            start = max(at, address)
            yield self._memory(start, min(at + PIECE_BYTES, end) - start)

    def read_memory(self, address: int, size_bytes: int) -> Memory:
        """The same in one piece. UsageError for more than 1 GiB."""
        if not 0 <= size_bytes <= MAX_READ_BYTES:
            raise UsageError(
                f"{size_bytes:,} bytes can't be read at once", hint=f"at most {MAX_READ_BYTES:,}"
            )
        self._require_area(address, size_bytes)
        return self._memory(address, size_bytes)

    def _require_area(self, address: int, size_bytes: int) -> None:
        end = address + size_bytes
        if address < 0 or size_bytes < 0 or end > 1 << 64:
            raise UsageError(f"{size_bytes:,} bytes at {address:#x} are beyond all addresses")
        if not any(area.start < max(end, address + 1) and area.end > address for area in self.areas):
            raise NotMapped("no memory area of the process is there", address=address, hint=AREAS_HINT)

    def _memory(self, start: int, size_bytes: int) -> Memory:
        data, missing = self.read(start, size_bytes)
        gaps = Gaps()
        tell(gaps, "memory", missing)
        self.tell_tables(gaps)
        records = [
            MissingRecord(address=low, size=high - low, reason=WHY[why][0], detail=WHY[why][1])
            for low, high, why in missing
        ]
        return Memory(data, start, records, gaps)

    def read(self, start: int, size_bytes: int) -> tuple[bytearray, list[tuple[int, int, State]]]:
        """The bytes at an address, zeros where there are none, and the places (start, end, why) of these.

        All of it is held in memory: the caller bounds the size.
        """
        data = bytearray(size_bytes)
        missing: list[tuple[int, int, State]] = []
        end = at = start
        end += size_bytes
        for area in self.areas:
            if area.end <= start or area.start >= end:
                continue
            if area.start > at:
                missing.append((at, area.start, State.NO_AREA))
            for spans in self.spans(area, start, end):
                missing += self.fill(data, start, spans)
            at = min(area.end, end)
        if at < end:
            missing.append((at, end, State.NO_AREA))
        return data, missing

    def fill(self, data: bytearray, base: int, spans: Spans) -> list[tuple[int, int, State]]:
        """Put the bytes of spans into `data`, which is what is at `base`; the places where there are none."""
        there = spans.states == State.THERE
        copy_frames(
            self._kernel, data, spans.gvas[there] - np.uint64(base), spans.gpas[there], spans.sizes[there]
        )
        return lacking(spans)


def memory_of(kernel: Kernel, mm: Gva | None, pid: int) -> UserMemory:
    """The memory of a process, pages of its files out of the page cache too. NotMapped where it has none."""
    if mm is None:
        what = f"process {pid} has no memory of its own"
        raise NotMapped(what, hint="kernel threads and zombies have none")
    return UserMemory(kernel, mm, cached_pages(kernel))


def require_mm(kernel: Kernel, task: int, pid: int, mm: Gva | None) -> None:
    """Raise NoSuchProcess where a task is another one by now, or has another mm: what was read may be a stranger's."""
    columns = kernel.read_one("task_struct", "pid mm", task)
    if int(columns["pid"][0]) != pid or int(columns["mm"][0]) != (mm or 0):
        raise NoSuchProcess(f"process {pid} ended or ran another program while it was read")
