"""A rule says which events of which processes are let pass, told of, refused, or ended; the first that fits decides.

Pure data. What a rule leaves out fits anything. Rules are judged inside the guest, by its probe, before the act.
"""

from __future__ import annotations

import errno
from typing import Literal

import msgspec

Action = Literal["allow", "log", "deny", "kill"]


class Rule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rule of a table."""

    events: tuple[str, ...]
    """file.open, process.exec..."""
    action: Action = "deny"
    errno: int = errno.EPERM
    """What a refused call gets, as a positive number."""
    path: str | None = None
    """The object's whole path in the guest's mount tree."""
    path_prefix: str | None = None
    path_suffix: str | None = None
    exe: str | None = None
    """The program of the process, by its whole path."""
    unless_exe: str | None = None
    name: str | None = None
    """comm of the process."""
    uid: int | None = None
    key: str | None = None
    """One process: pid@start."""
    port: int | None = None
    address: str | None = None
    """An address, or a network as 10.0.0.0/8."""
    flags: int | None = None
    """Any of these bits of the event's flags: O_WRONLY | O_RDWR for writing."""


class RuleRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A rule in force in a guest, and how often it fitted."""

    number: int
    hits: int
    rule: Rule
