"""What could be done to a guest, what was done, and how its probe fares. Pure data."""

from __future__ import annotations

import time

import msgspec


class AbilityRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that a target or this vmon can or can't do."""

    name: str
    available: bool
    detail: str
    """How, or why not."""


class HookRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How one kind of event could be watched in a guest."""

    event: str
    how: str
    """call sites, entry nop, or not available."""
    deny: bool
    """Whether it could be refused too; else it can only be observed."""
    sites: int
    """Instructions of the guest that a probe would change for it."""
    functions: list[str]
    """Functions of the kernel that it would be seen at."""
    context: str
    """Where their callers stand: may sleep, locked (others wait), atomic (no sleep), interrupt."""
    why: str
    """Why it is not available; empty when it is."""
    notes: list[str]
    """What is not seen, and who else is there already."""


class PageRunRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Pages of guest-physical memory, one after another."""

    gpa: int
    pages: int
    why: str
    """Why they can't be used; empty when they can."""


class DoctorRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What could be done to a guest. All of it was found out by reading."""

    target: str
    release: str
    build_id: str
    hypervisor: str
    changed: bool
    """Whether anything of the guest was changed to learn this: never."""
    obstacles: list[str]
    """What keeps a probe from being installed, a sentence each; empty when nothing does."""
    abilities: list[AbilityRecord]
    pages: int
    """Pages that a probe could live in."""
    page_runs: list[PageRunRecord]
    slot_address: int
    """Where in the kernel's address space they would appear."""
    slot_entry_gpa: int | None
    """The one page-table entry that would be written; None when it can't be told."""
    events: list[HookRecord]
    ticks: list[HookRecord]
    """Where the guest would look for what the host wants done."""
    notes: list[str]


class ActRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to a process, and what came of it."""

    key: str
    pid: int
    name: str
    signal: int
    done: bool
    outcome: str
    """sent, gone already, or why it was refused."""
    took_ms: float
    """From asking to the kernel's answer."""


class ProbeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A probe in a guest."""

    installed: bool
    """Whether it was put in now; False where it was there."""
    sites: int
    """Instructions of the guest that were changed now."""
    paused_ms: float
    """How long the guest stood still for it; 0 where it did not."""
    events: list[str]
    """Kinds of events that it sees."""
    not_seen: dict[str, str]
    """The others, with the reason."""


class DifferenceRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing about a probe that is not as vmon wrote it."""

    what: str
    """instruction, code, configuration, page-table entry, slot, recording, or probe for all of it."""
    address: int
    """In the guest's kernel half."""
    expected: str
    """Bytes, as hex."""
    found: str
    said: str
    """The same as a sentence."""


class CheckRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a probe is as vmon wrote it."""

    intact: bool
    differences: list[DifferenceRecord]
    took_ms: float


class NoticeRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What happened to the watching itself, between the events of a guest."""

    event: str
    """vmon.tampered, vmon.repaired, vmon.intact, vmon.rules, vmon.rebooted, vmon.installed, vmon.dropped,
    vmon.lost."""
    said: str
    differences: list[DifferenceRecord] = []
    """Of vmon.tampered; the first eight."""
    noticed_ns: int = msgspec.field(default_factory=time.time_ns)
    """When, in nanoseconds since 1970, by the host's clock."""
