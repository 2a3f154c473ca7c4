"""A guest as a whole: which kernel it runs and how that is known. Pure data."""

from __future__ import annotations

import msgspec


class EvidenceRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that was checked when the kernel was identified."""

    check: str
    passed: bool
    detail: str


class GuestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a guest as a whole."""

    target: str
    os: str
    release: str
    version: str
    banner: str
    build_id: str
    architecture: str
    hostname: str
    boot_time: float | None
    """Seconds since the epoch, by the guest's clock."""
    cpus_online: int | None
    memory_total: int | None
    """Bytes that the guest's kernel manages."""
    ram_size: int
    """Bytes of RAM that the machine has."""
    modules: int | None
    command_line: str | None
    paging_levels: int
    kaslr_slide: int
    page_offset_base: int
    text_address: int
    hypervisor: str
    """tcg, kvm, or dump."""
    ram_access: str
    """How RAM is read: mapped, process memory, file."""
    identified_ms: float
    profile_from_cache: bool
    symbols: int
    types: int
    evidence: list[EvidenceRecord]
    coverage: list[str]
    """What cannot be seen on this guest, a sentence each."""


class HostGuestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A QEMU process of this host, and what vmon could do with it."""

    target: str
    """What to call it: lab:NAME or pid:N."""
    pid: int
    name: str
    accel: str
    """kvm, tcg, or empty when unknown."""
    ram_size: int
    """Bytes, as the command line asks for."""
    ram_access: str
    """mapped, process memory, or empty when this user may not."""
    qmp: list[str]
    """Its QMP sockets, each with its state."""
    readable: bool
    problem: str
    """Why it can't be read; empty when it can."""
