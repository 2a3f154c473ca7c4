"""The memory of a guest's processes: bytes and what lacks, texts, matches of rules. Pure data."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from vmon.core.coverage import GapRecord, Gaps, Reason


class MissingRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A part of a range that could not be read."""

    address: int
    size: int
    """Bytes."""
    reason: Reason
    detail: str


class Memory(bytes):
    """What is at an address of a process; zeros where it could not be read, which `missing` tells."""

    address: int
    """Of the first byte."""
    missing: list[MissingRecord]
    """By rising address; empty when all was read."""
    coverage: list[GapRecord]
    """The same, counted in pages by reason."""

    def __new__(
        cls,
        data: bytes | bytearray,
        address: int,
        missing: Iterable[MissingRecord] = (),
        coverage: Iterable[GapRecord] | Gaps = (),
    ) -> Memory:
        """Bytes with where they were."""
        made = super().__new__(cls, data)
        made.address = address
        made.missing = list(missing)
        made.coverage = coverage.records() if isinstance(coverage, Gaps) else list(coverage)
        return made


class CoreRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A core file that was written."""

    pid: int
    path: str
    size: int
    """Bytes, holes included."""
    stored: int
    """Bytes without the holes."""
    threads: int
    segments: int
    coverage: list[GapRecord]
    """What of the process is not in it."""


class StringRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A printable text in the memory of a process."""

    pid: int
    address: int
    encoding: str
    """ascii or utf-16-le."""
    text: str
    """At most 4096 characters; what is longer goes on in the next record."""
    area: str
    """Path or name of the memory area; empty when it has none."""


class ScanRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One match of a rule: a pattern of it that was found, or the rule as a whole when it names no pattern."""

    rule: str
    namespace: str
    """Name of the file of rules, without its folder and ending."""
    tags: list[str]
    meta: dict[str, str | int | float | bool]
    technique: str | None
    """ATT&CK technique, where the rule's meta names one: T1055, T1059.004."""
    pid: int
    """0 for the kernel."""
    process: str
    """comm; `kernel` for the kernel."""
    key: str
    """The process for ever: pid@start; empty for the kernel."""
    address: int
    """Of the match; of the memory that was looked at where the rule names no pattern."""
    area: str
    """Path or name of the memory area, of a part of the kernel image, or of a module."""
    permissions: str
    """Of the area, as in maps; empty for the kernel."""
    pattern: str
    """Identifier with its $; empty where the rule names none."""
    size: int
    """Bytes that matched."""
    data: str
    """The first 64 of them, as text with everything unprintable as \\xNN."""
    xor_key: int | None
    """For a pattern with xor: the key by which it was found."""


class AuxRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One entry of the auxiliary vector that the kernel gave a program at exec."""

    pid: int
    type: int
    name: str
    """AT_PHDR, AT_ENTRY...; the number where it has no name here."""
    value: int
    text: str | None
    """What the value leads to, for AT_PLATFORM, AT_BASE_PLATFORM, AT_EXECFN; None when it is not in memory."""


class FrameRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One address of a kernel stack that is to be returned to."""

    address: int
    symbol: str | None
    """Name of the function; None when no symbol is there."""
    offset: int
    """Bytes behind the start of the symbol."""
    module: str
    """Module that it lies in; empty for the kernel proper."""
    sure: bool
    """Whether the unwinder found it; else it is a word of the stack that looks like one."""


class StackRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Where one thread is: its registers in user space, and the functions of the kernel that it is in."""

    pid: int
    tid: int
    name: str
    state: str
    registers: dict[str, int] | None
    """In user space when it entered the kernel, by name; None for a kernel thread, and for a thread on a CPU."""
    syscall: int | None
    """Number of the system call that it is in; None when it is in none, or is on a CPU."""
    on_cpu: int | None
    """The CPU that runs it right now: neither its registers nor its stack are in memory then."""
    frames: list[FrameRecord]
    """Innermost first."""
