"""An ELF core of a machine: each PT_LOAD is a run of RAM, at p_paddr in the guest and p_offset in the file.

Reads what QEMU's dump-guest-memory, `virsh dump --memory-only` and makedumpfile -E write, and builds the
headers of our own. Hostile headers: the number of segments is bounded, each must lie in the file and in 52
bits of address. Runs that overlap (dump-guest-memory -p lists memory by virtual address) are clipped: the
first one counts.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence

from vmon.core.address import PAGE_SIZE_BYTES, Gpa
from vmon.core.errors import DumpFormatError
from vmon.core.ports import RamRange
from vmon.transport.ram import Extent

MAGIC = b"\x7fELF"
HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SEGMENT = struct.Struct("<IIQQQQQQ")
SECTION_INFO_OFFSET = 44  # sh_info of section 0 holds the number of segments when it does not fit 16 bits
ET_CORE, EM_386, EM_X86_64, PT_LOAD, PT_NOTE, PN_XNUM = 4, 3, 62, 1, 4, 0xFFFF
MOST_SEGMENTS = 1 << 20
HIGHEST_GPA = 1 << 52
NOTE = struct.pack("<III", 5, 4, 1) + b"vmon\0\0\0\0" + struct.pack("<I", 1)
"""One note of our own: crash and others want to see a PT_NOTE, and skip owners that they don't know."""


def extents(fd: int, file_bytes: int) -> list[Extent]:
    """The runs of RAM in an ELF core."""
    table_offset, count = _segment_table(fd, file_bytes)
    if count > MOST_SEGMENTS or table_offset + count * SEGMENT.size > file_bytes:
        raise DumpFormatError(
            f"ELF header at offset 0x20: {count} segments at {table_offset:#x} are not in the file"
        )
    table = os.pread(fd, count * SEGMENT.size, table_offset)
    runs: list[Extent] = []
    for index, row in enumerate(SEGMENT.iter_unpack(table)):
        kind, _, offset, _, gpa, in_file_bytes, in_memory_bytes, _ = row
        if kind != PT_LOAD or not in_file_bytes:
            continue
        where = f"ELF segment {index} at offset {table_offset + index * SEGMENT.size:#x}"
        if offset + in_file_bytes > file_bytes:
            raise DumpFormatError(
                f"{where}: {in_file_bytes} bytes at {offset:#x} reach beyond the file's {file_bytes} bytes",
                hint="the dump was cut short",
            )
        if gpa + in_file_bytes > HIGHEST_GPA or in_file_bytes > in_memory_bytes:
            raise DumpFormatError(f"{where}: {in_file_bytes} bytes at guest-physical {gpa:#x} can't be RAM")
        runs.append(Extent(Gpa(gpa), in_file_bytes, offset))
    if not runs:
        raise DumpFormatError("the ELF core holds no memory")
    if len(runs) > 1 and not any(run.gpa for run in runs):
        raise DumpFormatError(
            "the ELF core is that of a process, not of a machine: it has no physical addresses"
        )
    return _without_overlaps(runs)


def _segment_table(fd: int, file_bytes: int) -> tuple[int, int]:
    raw = os.pread(fd, HEADER.size, 0)
    if len(raw) < HEADER.size:
        raise DumpFormatError(f"the ELF header is cut short at offset {len(raw):#x}")
    ident, kind, machine, _, _, table_offset, sections_offset, _, _, segment_bytes, count, _, _, _ = (
        HEADER.unpack(raw)
    )
    if kind != ET_CORE:
        raise DumpFormatError("the ELF file at offset 0x10 is not a core dump")
    if ident[4:6] != b"\x02\x01" or machine not in (EM_386, EM_X86_64):
        raise DumpFormatError("the ELF core at offset 0x4 is not one of a 64-bit x86 machine")
    if segment_bytes != SEGMENT.size:
        raise DumpFormatError(f"ELF header at offset 0x36: segments of {segment_bytes} bytes")
    if count == PN_XNUM:
        raw = os.pread(fd, 4, sections_offset + SECTION_INFO_OFFSET) if sections_offset < file_bytes else b""
        if len(raw) < 4:
            raise DumpFormatError(f"ELF section 0 at offset {sections_offset:#x} is not in the file")
        count = int.from_bytes(raw, "little")
    return table_offset, count


def _without_overlaps(runs: list[Extent]) -> list[Extent]:
    apart: list[Extent] = []
    end_gpa = 0
    for run in sorted(runs, key=lambda r: r.gpa):
        skip_bytes = max(0, end_gpa - run.gpa)
        if skip_bytes < run.size_bytes:
            apart.append(
                Extent(Gpa(run.gpa + skip_bytes), run.size_bytes - skip_bytes, run.place + skip_bytes)
            )
            end_gpa = run.end_gpa
    return apart


def headers(ranges: Sequence[RamRange]) -> tuple[bytes, list[int]]:
    """The start of a core file, and the offset of each range's bytes in it."""
    count = 1 + len(ranges)
    notes_offset = HEADER.size + count * SEGMENT.size
    at = _page_up(notes_offset + len(NOTE))
    ident = MAGIC + bytes([2, 1, 1]) + bytes(9)
    head = HEADER.pack(
        ident, ET_CORE, EM_X86_64, 1, 0, HEADER.size, 0, 0, HEADER.size, SEGMENT.size, count, 0, 0, 0
    )
    rows = [SEGMENT.pack(PT_NOTE, 0, notes_offset, 0, 0, len(NOTE), len(NOTE), 4)]
    offsets: list[int] = []
    for item in ranges:
        rows.append(
            SEGMENT.pack(PT_LOAD, 6, at, 0, item.gpa, item.size_bytes, item.size_bytes, PAGE_SIZE_BYTES)
        )
        offsets.append(at)
        at = _page_up(at + item.size_bytes)
    return head + b"".join(rows) + NOTE, offsets


def _page_up(offset: int) -> int:
    return (offset + PAGE_SIZE_BYTES - 1) & -PAGE_SIZE_BYTES
