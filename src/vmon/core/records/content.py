"""What is in a file, as far as the guest has it in RAM; and who runs or maps which bytes. Pure data."""

from __future__ import annotations

import msgspec

from vmon.core.coverage import Reason
from vmon.core.records.process import MapRecord, ProcessRecord


class HoleRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A part of a file whose content is not known; it reads as zeros."""

    start: int
    """First byte."""
    end: int
    """First byte behind it."""
    reason: Reason
    """not resident: on the guest's disk, or a hole of the file there; swapped; torn: the guest moved it while it was
    read; unreadable."""


class HashRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The hash of one file's whole content."""

    sha256: str | None
    """Hexadecimal; None where a part of the file is not in RAM, or it is larger than was to be hashed."""
    size: int
    """Bytes of the file."""
    missing_pages: int
    """Pages of 4096 bytes that are not in RAM."""
    reason: Reason | None
    """Why there is no hash."""


class HashedProcessRecord(ProcessRecord, frozen=True, kw_only=True):
    """One process, and the hash of its executable as the guest has it in RAM."""

    sha256: str | None
    """Hexadecimal; None for a kernel thread or a zombie, and where a part of the file is not in RAM."""
    exe_size: int | None
    """Bytes of the executable; None for a kernel thread or a zombie."""
    exe_missing_pages: int | None
    """Its pages that are not in RAM."""


class HashedMapRecord(MapRecord, frozen=True, kw_only=True, gc=False):
    """One memory area, and the hash of the file behind it, all of it, as the guest has it in RAM."""

    sha256: str | None
    """Hexadecimal; None for an area without a file, and where a part of the file is not in RAM."""
    missing_pages: int | None
    """Pages of the file that are not in RAM; None for an area without a file."""
