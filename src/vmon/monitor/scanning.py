"""A scan runs YARA rules over the memory of processes, files in the page cache, and the kernel, window by window.

Reads the guest through vmon.linux. A rule is applied to each piece of memory that hangs together (the parts of a
mapped file as one), like a file; a condition over several of them is never true. A hostile guest can make a scan
longer, up to a few times its RAM, and no more.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vmon.core.address import PAGE_SIZE_BYTES, Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError, NoSuchProcess
from vmon.core.records.memory import ScanRecord
from vmon.core.records.process import MapRecord
from vmon.core.text import guest_text
from vmon.kernel.columns import text_rows
from vmon.linux.cachedfiles import find_cached_files
from vmon.linux.kernel import Kernel
from vmon.linux.module import MAX_MODULES, read_parts
from vmon.linux.pagecache import each_page, find_pages
from vmon.linux.snapshot import Snapshot
from vmon.linux.task import walk_list
from vmon.linux.usermem import require_mm
from vmon.linux.windows import Budget, Window, iter_windows, join_areas
from vmon.monitor.yara import MAX_MATCHES, TIMEOUT_S, Hit, Rules

OVERLAP_BYTES = 64 << 10
"""The longest match that is found wherever it lies."""
RAM_TIMES = 4
"""How many times the guest's RAM is read at most: what many processes share is read for each."""
SHOWN_BYTES = 64
TECHNIQUE = re.compile(r"\bT\d{4}(?:\.\d{3})?\b")
KERNEL_WINDOW_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class _Where:
    pid: int
    process: str
    key: str


KERNEL = _Where(0, "kernel", "")
FILE = _Where(0, "", "")


class Scan:
    """One scan of one guest by some rules."""

    def __init__(self, kernel: Kernel, rules: Rules) -> None:
        self._kernel = kernel
        self._rules = rules
        ram = sum(part.size_bytes for part in kernel.memory.phys.ranges)
        self._budget = Budget(RAM_TIMES * ram)
        self.gaps = Gaps()

    def processes(self, snapshot: Snapshot) -> Iterator[ScanRecord]:
        """Matches in every process of a snapshot that has memory of its own."""
        for row in range(len(snapshot)):
            if snapshot.mm(row) is None:
                continue
            try:
                records = list(self._process(snapshot, row))
                task, pid = int(snapshot.tasks[row]), snapshot.pid[row]
                require_mm(self._kernel, task, pid, snapshot.mm(row))
            except GuestDataError as error:
                self.gaps.add("memory", "unreadable", error.message)
            except NoSuchProcess:
                self.gaps.add("memory", "torn", "processes that ended or ran another program meanwhile")
            else:
                yield from records

    def _process(self, snapshot: Snapshot, row: int) -> Iterator[ScanRecord]:
        where = _Where(snapshot.pid[row], guest_text(snapshot.name[row]), snapshot.key(row))
        memory = snapshot.memory(row)
        maps: list[MapRecord] | None = None
        for areas in join_areas(memory.areas):
            windows = iter_windows(
                self._kernel, memory, areas, self.gaps, self._budget, overlap_bytes=OVERLAP_BYTES
            )
            for window, hits in self._run(windows):
                if maps is None:
                    maps = snapshot.maps(row)
                yield from _records(window, hits, where, maps)

    def files(self) -> Iterator[ScanRecord]:
        """Matches in the files of which the guest has pages in memory, those that nobody has open too.

        The address is the place in the file. What of a file is not in memory is not searched, and is no gap: any file
        may have more on its disk.
        """
        for file in find_cached_files(self._kernel, self.gaps):
            named = [_area(f"{file.filesystem}:{file.path or '?'}", 0, 1 << 63)]
            try:
                for window, hits in self._run(self._file_windows(file.mapping)):
                    yield from _records(window, hits, FILE, named)
            except GuestDataError as error:
                self.gaps.add("files", "torn", error.message)

    def _file_windows(self, mapping: Gva) -> Iterator[Window]:
        """Pages that follow each other in the file, at most a window of them."""
        indexes, gpas = each_page(find_pages(self._kernel, mapping))
        starts = np.flatnonzero(np.diff(indexes, prepend=indexes[:1] - np.uint64(2)) != 1).tolist()
        most = KERNEL_WINDOW_BYTES // PAGE_SIZE_BYTES
        for start, end in zip(starts, [*starts[1:], indexes.size], strict=True):
            for first in range(start, end, most):
                last = min(first + most + OVERLAP_BYTES // PAGE_SIZE_BYTES, end)
                if not self._budget.take((last - first) * PAGE_SIZE_BYTES):
                    self.gaps.add("files", "bounded", "more than the guest has RAM")
                    return
                data = self._kernel.memory.phys.gather(gpas[first:last], PAGE_SIZE_BYTES).tobytes()
                own = min(most, end - first) * PAGE_SIZE_BYTES
                yield Window(int(indexes[first]) * PAGE_SIZE_BYTES, data, own, ())

    def kernel(self) -> Iterator[ScanRecord]:
        """Matches in the image of the kernel and in the text and data of its modules."""
        bases = self._kernel.memory.bases
        yield from self._range("kernel image", bases.text_gva, bases.image_size_bytes)
        offset = self._kernel.offset("module", "list")
        try:
            nodes = walk_list(self._kernel, self._kernel.symbol("modules"), "module.list", MAX_MODULES)
        except GuestDataError as error:
            self.gaps.add("module", "unreadable", error.message)
            nodes = []
        for node in nodes:
            module = Gva(node - offset)
            try:
                name = text_rows(self._kernel.read_one("module", "name", module).raw("name"))[0]
                for start, size in read_parts(self._kernel, module):
                    if start and size:
                        yield from self._range(f"module {guest_text(name)}", start, size)
            except GuestDataError as error:
                self.gaps.add("module", "unreadable", error.message)

    def _range(self, area: str, start: int, size: int) -> Iterator[ScanRecord]:
        end = start + min(size, RAM_TIMES << 30)
        named = [_area(area, start, end)]
        for window, hits in self._run(self._kernel_windows(start, end)):
            yield from _records(window, hits, KERNEL, named)

    def _kernel_windows(self, start: int, end: int) -> Iterator[Window]:
        memory = self._kernel.memory
        for base in range(start, end, KERNEL_WINDOW_BYTES):
            stop = min(base + KERNEL_WINDOW_BYTES + OVERLAP_BYTES, end)
            first = base - base % PAGE_SIZE_BYTES
            pages = np.arange(first, stop, PAGE_SIZE_BYTES, dtype=np.uint64)
            absent = ~memory.mapped(pages)
            if not self._budget.take(stop - base):
                self.gaps.add("kernel", "bounded", "more than the guest has RAM")
                return
            if absent.any():
                self.gaps.add("kernel", "unreadable", "pages that are not mapped", int(absent.sum()))
            data = memory.gather(pages, PAGE_SIZE_BYTES).tobytes()[base - first : stop - first]
            missing = [(page, page + PAGE_SIZE_BYTES) for page in pages[absent].tolist()]
            yield Window(base, data, min(KERNEL_WINDOW_BYTES, stop - base), tuple(missing))

    def _run(self, windows: Iterable[Window]) -> Iterator[tuple[Window, list[Hit]]]:
        for window in windows:
            hits = self._rules.scan(window.data)
            if hits is None:
                self.gaps.add("memory", "bounded", f"a window took longer than {TIMEOUT_S} s")
            elif hits:
                if any(hit.cut for hit in hits):
                    self.gaps.add("matches", "bounded", f"more than {MAX_MATCHES} of one pattern in a window")
                yield window, hits


def _area(name: str, start: int, end: int) -> MapRecord:
    """Something that is no memory area of a process, named as one."""
    return MapRecord(
        pid=0, start=start, end=end, permissions="", offset=0, device=0, inode=0, path=name, deleted=False
    )


def _records(
    window: Window, hits: Sequence[Hit], where: _Where, maps: Sequence[MapRecord]
) -> Iterator[ScanRecord]:
    starts = [area.start for area in maps]
    for hit in hits:
        # What begins behind the window's own bytes is met again in the next; zeros for what lacks are no match.
        matches = [
            match
            for match in hit.matches
            if match[1] < window.own_bytes and window.knows(window.base + match[1], match[2])
        ]
        technique = next(
            (found[0] for value in hit.meta.values() if (found := TECHNIQUE.search(str(value)))), None
        )
        if not hit.matches:
            matches = [("", 0, 0, None)]
        for pattern, offset, size, xor_key in matches:
            address = window.base + offset
            at = bisect_right(starts, address) - 1
            area = maps[at] if at >= 0 and address < maps[at].end else None
            data = window.data[offset : offset + min(size, SHOWN_BYTES)]
            yield ScanRecord(
                rule=hit.rule,
                namespace=hit.namespace,
                tags=hit.tags,
                meta=hit.meta,
                technique=technique,
                pid=where.pid,
                process=where.process,
                key=where.key,
                address=address,
                area=(area.path or "") if area else "",
                permissions=area.permissions if area else "",
                pattern=pattern,
                size=size,
                data="".join(chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}" for byte in data),
                xor_key=xor_key,
            )
