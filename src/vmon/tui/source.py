"""What a screen needs of a guest: a frame of it once a second, pages about one process, acts, and events.

Pure definitions. Every text is as the guest has it: what shows it escapes it. All calls of a source are made one after
another, in one thread, and may take milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from vmon.core.events import Event
from vmon.core.records.machine import LoadRecord

Verb = Literal["kill", "terminate", "suspend", "resume", "quarantine", "release"]
Subject = Literal["files", "sockets", "maps", "threads", "stack", "env", "check", "rules"]


class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One process."""

    key: str
    """pid@start: the same process for ever."""
    pid: int
    parent: str | None
    """Key of its parent; None for the first process and for kthreadd."""
    name: str
    """comm."""
    state: str
    """Letter of /proc/PID/stat."""
    uid: int | None
    threads: int
    kernel_thread: bool
    start_ns: int
    """Nanoseconds since the guest booted."""
    cpu_s: float
    """Seconds of CPU since it started, all threads, user and system."""
    size: int | None
    """Bytes in RAM; None for a kernel thread."""
    command: str
    """Its arguments, or its name in brackets."""
    container: str | None


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """A guest at one moment."""

    target: str
    hostname: str
    release: str
    boot: str
    """Differs when another kernel runs, or another guest under the same target."""
    host_s: float
    """When it was read, in seconds of the host's monotonic clock."""
    load: LoadRecord
    memory_total: int | None
    memory_used: int | None
    """Bytes that are neither free nor to be had by dropping caches."""
    users: dict[int, str]
    """Names of the guest's users, as far as its /etc/passwd is in memory."""
    rows: list[Row]
    missing: list[str]
    """What could not be seen, a few words each."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A table about one process, or about the guest."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    nothing: str
    """What is said where there are no rows."""
    missing: Sequence[str] = ()


class Source(Protocol):
    """A guest, as a screen sees it. Every call raises VmonError."""

    target: str

    def frame(self) -> Frame:
        """The guest as it is now. Where it went away or rebooted it is looked for again."""
        ...

    def page(self, subject: Subject, row: Row | None) -> Page:
        """More about one process, or about the guest; NoSuchProcess when it is not this very process any more."""
        ...

    @property
    def probe_is_in(self) -> bool:
        """Whether an act would find the probe in the guest already, put in by this screen."""
        ...

    def act(self, verb: Verb, row: Row) -> str:
        """Do it to this very process; what came of it, in a sentence. Changes the guest."""
        ...

    def start_events(self) -> str:
        """Put the probe in and follow the guest's events; what that took, in a sentence. Changes the guest."""
        ...

    def take_events(self) -> tuple[list[Event], list[str]]:
        """What happened since the last call, and what is to be told of the watching itself. Cheap."""
        ...

    @property
    def following(self) -> bool:
        """Whether events are followed."""
        ...

    def close(self) -> str:
        """Let go of the guest, and take out a probe that this screen put in, unless rules are in force; what is left in
        the guest, in a sentence; empty where nothing was changed."""
        ...
