"""LiME is a 32-byte header in front of each run of RAM: magic, version, first and last address.

Reads version 1, and builds the headers of our own. Hostile headers: their number is bounded, a run must lie
in the file and in 52 bits of address, runs may not overlap.
"""

from __future__ import annotations

import os
import struct
from itertools import pairwise

from vmon.core.address import Gpa
from vmon.core.errors import DumpFormatError
from vmon.core.ports import RamRange
from vmon.transport.ram import Extent

MAGIC_NUMBER = 0x4C694D45
MAGIC = MAGIC_NUMBER.to_bytes(4, "little")
HEADER = struct.Struct("<IIQQQ")
MOST_RUNS = 1 << 16
HIGHEST_GPA = 1 << 52


def extents(fd: int, file_bytes: int) -> list[Extent]:
    """The runs of RAM in a LiME file."""
    runs: list[Extent] = []
    at = 0
    while at < file_bytes:
        raw = os.pread(fd, HEADER.size, at)
        if len(raw) < HEADER.size:
            raise DumpFormatError(
                f"LiME header at offset {at:#x} is cut short", hint="the dump was cut short"
            )
        magic, version, first, last, _ = HEADER.unpack(raw)
        if magic != MAGIC_NUMBER or version != 1:
            raise DumpFormatError(f"LiME header at offset {at:#x}: magic {magic:#x}, version {version}")
        if not first <= last < HIGHEST_GPA:
            raise DumpFormatError(f"LiME header at offset {at:#x}: RAM from {first:#x} to {last:#x}")
        at += HEADER.size
        size_bytes = last - first + 1
        if at + size_bytes > file_bytes:
            raise DumpFormatError(
                f"LiME run at offset {at:#x}: {size_bytes} bytes reach beyond the file's {file_bytes} bytes",
                hint="the dump was cut short",
            )
        if len(runs) >= MOST_RUNS:
            raise DumpFormatError(f"LiME header at offset {at:#x}: more than {MOST_RUNS} runs")
        runs.append(Extent(Gpa(first), size_bytes, at))
        at += size_bytes
    runs.sort(key=lambda run: run.gpa)
    for before, after in pairwise(runs):
        if before.end_gpa > after.gpa:
            offset = after.place - HEADER.size
            raise DumpFormatError(f"LiME header at offset {offset:#x}: RAM at {after.gpa:#x} is there twice")
    return runs


def header(item: RamRange) -> bytes:
    """The header in front of one range."""
    return HEADER.pack(MAGIC_NUMBER, 1, item.gpa, item.end_gpa - 1, 0)
