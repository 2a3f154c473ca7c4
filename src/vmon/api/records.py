"""What the server says of itself and of its guests: identity, what is attached, the probe. Pure data."""

from __future__ import annotations

import msgspec

from vmon.api.tokens import Role
from vmon.core.coverage import GapRecord
from vmon.core.records.guest import GuestRecord


class VmRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A guest that this server answers for, or would if it could be read."""

    vm: str
    """Its name in addresses of this server."""
    target: str
    """What the other commands of vmon call it."""
    name: str
    """Of the machine, as its hypervisor calls it; empty when unknown."""
    pid: int | None
    """Process of its hypervisor; None for a dump."""
    accel: str
    ram_size: int | None
    """Bytes; None when unknown."""
    readable: bool
    problem: str
    """Why it can't be read, or why the last try to attach failed; empty when nothing is wrong."""
    attached: bool
    """Whether it was asked for already."""
    release: str | None
    """Of its kernel, as it was last found; None before it is attached."""
    hostname: str | None


class ProbeStateRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The probe of a guest, as it is now."""

    active: bool
    """Whether one is in the guest: without it there are no events and no rules."""
    by_server: bool
    """Whether this server put it in; then it is taken out when the server ends, unless rules are in force."""
    enforcing: bool | None
    """Whether rules are carried out, or only told; None without a probe."""
    rules: int
    """How many are in force."""
    watched: bool
    """Whether somebody follows its events here."""
    why: str
    """Why none is active, or none can be; empty when one is."""


class VmDetailRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A guest, attached."""

    vm: str
    guest: GuestRecord
    """Who it is, how that is known, and what can't be seen of it."""
    live: bool
    """Whether it runs, or can go on: a dump can't."""
    reboots: int
    """How often another kernel was found under this name since it was attached."""
    probe: ProbeStateRecord


class WhoamiRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, as the server sees it."""

    role: Role
    how: str
    """socket, token or session."""
    csrf: str | None
    """Of a session: to be sent as X-CSRF-Token with what changes something."""
    read_only: bool
    """Whether this server refuses every change of a guest."""
    version: str


class HealthRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the server answers."""

    status: str
    version: str


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """Every list: what could not be seen stands beside it."""

    coverage: list[GapRecord]
    records: list[object]
