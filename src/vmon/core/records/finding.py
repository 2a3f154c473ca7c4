"""Where a guest's views of itself disagree, or something is as intruders leave it. Pure data."""

from __future__ import annotations

from typing import Literal

import msgspec

Severity = Literal["info", "low", "medium", "high", "critical"]


class FindingRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One difference, with what it was seen by."""

    check: str
    """Which kind, as docs/checks.md lists them: process.hidden, code.syscall..."""
    severity: Severity
    """critical: the kernel hides something or runs foreign code; info: common where nothing is wrong."""
    attack: list[str]
    """MITRE ATT&CK ids of what it would be evidence of."""
    subject: str
    """What it is about: a process, a module, a symbol."""
    said: str
    """In a sentence."""
    evidence: list[str]
    """What was read where, a line each."""
    could_be: str
    """What else it could mean."""
    pid: int | None = None
    address: int | None = None
    """In the guest's kernel half."""
