"""A rule says what becomes of which events of which processes; the first that fits decides.

Pure data. What a rule leaves out fits anything. Rules are judged inside the guest, by its probe, before the act.
"""

from __future__ import annotations

import errno
import os
from typing import Literal

import msgspec

Action = Literal["allow", "log", "deny", "kill", "ask"]
Fallback = Literal["allow", "deny"]
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
"""Flags of an open that may write."""


class Rule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rule of a table. All of its conditions must hold."""

    events: tuple[str, ...]
    """file.open, process.exec..."""
    action: Action = "deny"
    errno: int = errno.EPERM
    """What a refused call gets, as a positive number."""
    observe: bool = False
    """Only tell what it would do."""
    timeout_ms: int = 1000
    """How long an asked call waits for its answer."""
    fallback: Fallback = "deny"
    """What becomes of an asked call when no answer comes in time, or nobody is there to give one."""

    path: str | None = None
    """The object's whole path in the guest's mount tree."""
    path_prefix: str | None = None
    path_suffix: str | None = None
    path_glob: str | None = None
    """A path with one `*` (any characters but a slash) or one `**` (any characters) in it."""
    port: int | None = None
    address: str | None = None
    """An address, or a network as 10.0.0.0/8."""
    flags: int | None = None
    """Any of these bits of the event's flags: O_WRONLY | O_RDWR for writing."""

    exe: str | None = None
    """The program of the process, by its whole path."""
    name: str | None = None
    """comm of the process."""
    uid: int | None = None
    key: str | None = None
    """One process: pid@start."""
    tree: str | None = None
    """A process and everything that it starts from now on, and what they start: the key of the first."""
    cgroup_id: int | None = None
    """A cgroup and those below it, by the number that `vmon ps -o json` and cgroupfs (its inode) give."""
    unless_exe: str | None = None
    unless_name: str | None = None
    unless_uid: int | None = None
    unless_tree: str | None = None


def errno_of(name: str) -> int | None:
    """The number of an errno by its name in either case; None for a name that is none."""
    number = getattr(errno, name.upper(), None)
    return number if isinstance(number, int) else None


HOW = ("events", "action", "errno", "observe", "timeout_ms", "fallback")


def conditions(rule: Rule) -> dict[str, str | int]:
    """What narrows a rule: its fields that are not about what is done."""
    found = {field: getattr(rule, field) for field in rule.__struct_fields__ if field not in HOW}
    return {field: value for field, value in found.items() if value is not None}


class RuleRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A rule in force in a guest, and how often it fitted."""

    number: int
    """Stays with the rule while it is in force."""
    hits: int
    rule: Rule
