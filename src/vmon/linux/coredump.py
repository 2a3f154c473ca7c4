"""A core file of a process is ELF: notes on its threads, and its memory, as the kernel itself would have written them.

Reads what the other files here decode. Memory that is not known is in no segment, so that a debugger asks the
executable for it or says that it has none: of a segment without bytes gdb shows zeros. A hostile guest can claim any
amount of memory: the number of segments is bounded, and what was never touched takes no room. The guest goes on
meanwhile, so a core is not one moment.
Sources: fs/binfmt_elf.c elf_core_dump(), include/linux/elfcore.h, include/uapi/linux/elf.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from vmon.core.address import PAGE_SIZE_BYTES
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure
from vmon.core.records.process import MapRecord, ProcessRecord
from vmon.linux.kernel import Kernel
from vmon.linux.registers import NAMES, OTHERS, Thread
from vmon.linux.spans import Spans, State, clipped, copy_frames, part_of, tell_lacking
from vmon.linux.usermem import Area, UserMemory
from vmon.linux.vma import VM_EXEC, VM_READ, VM_WRITE

NT_PRSTATUS, NT_PRPSINFO, NT_AUXV, NT_FILE = 1, 3, 6, 0x46494C45
ET_CORE, EM_X86_64, PT_LOAD, PT_NOTE = 4, 62, 1, 4
EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
PHDR = struct.Struct("<IIQQQQQQ")
# si_signo si_code si_errno cursig sigpend sighold pid ppid pgrp sid, four times, 27 registers, fpvalid.
PRSTATUS = struct.Struct("<iiihxxQQiiii8q27Qixxxx")
# state sname zombie nice flags uid gid pid ppid pgrp sid fname psargs.
PRPSINFO = struct.Struct("<bcbbxxxxQIIiiii16s80s")
MAX_SEGMENTS = 60_000
"""Of 65,534 that the ELF header can count."""
MAX_ZERO_BYTES = 16 << 20
"""Untouched memory up to this size is in the file, as a hole; more of it is a segment without bytes: zeros."""
PIECE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Segment:
    """One program header, and what is in memory of it."""

    start: int
    end: int
    flags: int
    spans: Spans | None
    """None where all of it is zeros, and none are written."""


def plan_segments(memory: UserMemory, gaps: Gaps) -> list[Segment]:
    """What will be written, by rising address; what can't be is counted in `gaps`. BadStructure beyond MAX_SEGMENTS."""
    segments: list[Segment] = []
    for area in memory.areas:
        for spans in memory.spans(area):
            segments += _split(area, spans, gaps)
            if len(segments) > MAX_SEGMENTS:
                raise BadStructure(f"more than {MAX_SEGMENTS:,} pieces of memory", field="vm_area_struct")
    memory.tell_tables(gaps)
    return segments


def _split(area: Area, spans: Spans, gaps: Gaps) -> Iterator[Segment]:
    large = (spans.states == State.ZERO) & (spans.sizes > np.uint64(MAX_ZERO_BYTES))
    known = (spans.states == State.THERE) | (spans.states == State.ZERO)
    kinds = known.astype(np.uint8) + large
    edges = np.flatnonzero(kinds[1:] != kinds[:-1]) + 1
    for low, high in pairwise([0, *edges.tolist(), spans.gvas.size]):
        part = part_of(spans, low, high)
        if known[low]:
            start, end = int(part.gvas[0]), int(part.gvas[-1] + part.sizes[-1])
            yield Segment(start, end, area.flags, None if large[low] else part)
        else:
            tell_lacking(gaps, part)


def segment_pieces(kernel: Kernel, segment: Segment) -> Iterator[tuple[int, bytearray]]:
    """What is in memory of a segment, as places in it and bytes there, some MiB at a time; the rest is zeros."""
    if segment.spans is None:
        return
    for base in range(segment.start, segment.end, PIECE_BYTES):
        end = min(base + PIECE_BYTES, segment.end)
        part = clipped(segment.spans, base, end)
        there = part.states == State.THERE
        # From the first to the last page that is there: untouched memory stays a hole in the file.
        for low, high in _runs(there):
            gvas, sizes = part.gvas[low:high], part.sizes[low:high]
            first = int(gvas[0])
            data = bytearray(int(gvas[-1] + sizes[-1]) - first)
            copy_frames(kernel, data, gvas - np.uint64(first), part.gpas[low:high], sizes)
            yield first - segment.start, data


def _runs(flags: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[tuple[int, int]]:
    """Where flags are set, as (first, end)."""
    padded = np.concatenate(([False], flags, [False]))
    edges = np.flatnonzero(padded[1:] != padded[:-1]).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def layout(segments: Sequence[Segment], notes: bytes) -> tuple[bytes, list[int], int]:
    """The start of the file, where each segment's bytes go, and the size of the whole file."""
    count = len(segments) + 1
    at = EHDR.size + PHDR.size * count
    headers = [PHDR.pack(PT_NOTE, 0, at, 0, 0, len(notes), 0, 4)]
    end = at + len(notes)
    places = []
    for segment in segments:
        end += -end % PAGE_SIZE_BYTES
        size = segment.end - segment.start
        stored = size if segment.spans is not None else 0
        flags = (
            (4 if segment.flags & VM_READ else 0)
            | (2 if segment.flags & VM_WRITE else 0)
            | (1 if segment.flags & VM_EXEC else 0)
        )
        headers.append(PHDR.pack(PT_LOAD, flags, end, segment.start, 0, stored, size, PAGE_SIZE_BYTES))
        places.append(end)
        end += stored
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = EHDR.pack(ident, ET_CORE, EM_X86_64, 1, 0, EHDR.size, 0, 0, EHDR.size, PHDR.size, count, 0, 0, 0)
    return header + b"".join(headers) + notes, places, end


def make_notes(
    process: ProcessRecord, threads: Iterable[Thread], maps: Iterable[MapRecord], auxv: bytes
) -> bytes:
    """All notes, the main thread first, as a debugger expects them."""
    ordered = sorted(threads, key=lambda thread: thread.tid != process.pid)
    found = [_note(NT_PRSTATUS, _prstatus(process, thread)) for thread in ordered]
    found[1:1] = [
        _note(NT_PRPSINFO, _prpsinfo(process)),
        _note(NT_AUXV, auxv),
        _note(NT_FILE, _files(maps)),
    ]
    return b"".join(found)


def _note(kind: int, body: bytes) -> bytes:
    return struct.pack("<III", 5, len(body), kind) + b"CORE\0\0\0\0" + body + bytes(-len(body) % 4)


def _prstatus(process: ProcessRecord, thread: Thread) -> bytes:
    registers = thread.registers or {}
    values = [registers.get(name, 0) for name in (*NAMES, *OTHERS)]
    ids = (thread.tid, process.ppid & 0x7FFF_FFFF, process.pgid or 0, process.sid or 0)
    return PRSTATUS.pack(0, 0, 0, 0, 0, 0, *ids, *([0] * 8), *values, 0)


def _prpsinfo(process: ProcessRecord) -> bytes:
    number = "RSDTZW".find(process.state)
    line = " ".join(process.cmdline or [process.name]).encode("utf-8", "surrogateescape")
    return PRPSINFO.pack(
        max(number, 0),
        process.state[:1].encode("latin-1", "replace") or b"?",
        process.state == "Z",
        min(max(process.nice, -128), 127),
        0,
        (process.uid or 0) & 0xFFFF_FFFF,
        (process.gid or 0) & 0xFFFF_FFFF,
        process.pid,
        process.ppid & 0x7FFF_FFFF,
        process.pgid or 0,
        process.sid or 0,
        process.name.encode("utf-8", "surrogateescape")[:15],
        line[:79],
    )


def _files(maps: Iterable[MapRecord]) -> bytes:
    """start, end and page offset of each area with a file, then the names."""
    places, names = [], []
    for area in maps:
        if area.inode and area.path:
            places.append(struct.pack("<QQQ", area.start, area.end, area.offset // PAGE_SIZE_BYTES))
            names.append(area.path.encode("utf-8", "surrogateescape").replace(b"\0", b"") + b"\0")
    return struct.pack("<QQ", len(places), PAGE_SIZE_BYTES) + b"".join(places) + b"".join(names)
