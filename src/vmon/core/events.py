"""What happens in a guest, as records: one flat type, fields that a kind of event does not have are None.

Pure data. Names of events are those of vmon's probe (process.exec, file.open...), names of fields those of the process
records; exports translate them. Text of the guest is decoded as in vmon.core.records.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Verdict = Literal["allowed", "denied", "killed", "asked", "would deny", "would kill", "would ask"]
Answer = Literal["allow", "deny", "kill"]
"""What becomes of an event that was asked about."""
ALLOW: Final = "allow"
"""Let it happen."""
DENY: Final = "deny"
"""Refuse it: the call gets the rule's errno."""
KILL: Final = "kill"
"""Refuse it, and end the process."""


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One event: who did what to which object, and what became of it."""

    event: str
    """process.exec, file.open, net.connect..."""
    sequence: int
    """Place in the ring; gaps are padding, and records of several slots."""
    time_ns: int
    """Nanoseconds since the guest booted, by its own clock."""
    key: str
    """Of the process: pid@start, as in its process record."""
    pid: int
    tid: int
    ppid: int
    uid: int
    euid: int
    gid: int
    name: str
    """comm."""
    cpu: int
    cgroup_id: int
    container_id: str | None = None
    exe: str | None = None
    """Program of the process where it is known: it was seen to start, or was there when watching began."""
    verdict: Verdict = "allowed"
    """asked: its process waits, and this reader is not who answers."""
    errno: int = 0
    rule: int = 0
    """Number of the rule that decided; 0 for none."""
    ask: int = 0
    """Place of the call that waits for an answer; 0 for none."""
    cut: bool = False
    """Whether a text did not fit."""
    path: str | None = None
    new_path: str | None = None
    """Of a rename or a link."""
    cmdline: list[str] | None = None
    flags: int | None = None
    """open(2), mmap(2), rename(2) or mount(2) flags."""
    mode: int | None = None
    exit_code: int | None = None
    """As wait(2) gives it: status << 8, or the signal."""
    signal: int | None = None
    target_pid: int | None = None
    target_key: str | None = None
    new_uid: int | None = None
    new_euid: int | None = None
    new_gid: int | None = None
    family: str | None = None
    protocol: str | None = None
    address: str | None = None
    port: int | None = None


class EventCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Totals of one kind of event since the guest booted, or first had a probe."""

    event: str
    seen: int
    lost: int
    """Seen, judged, and not recorded: the ring was full."""
    denied: int
    asked: int
    unanswered: int
    """Asked, and decided by the rule's fallback: no answer in time, or nobody to give one."""
