"""Where the rules of a policy run. Pure data."""

from __future__ import annotations

import msgspec


class PlacedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One rule of a policy: where it is judged, and what that costs."""

    line: int
    """Of the file."""
    id: str
    title: str
    severity: str
    do: str
    mode: str
    """observe or enforce."""
    guest: list[str]
    """Events that the probe decides by itself, before the act; it goes on when vmon is gone."""
    asked: list[str]
    """Events that wait for an answer of the host, some 22 us each where it is quick."""
    after: list[str]
    """Events that the host is told of: what it does comes after the act."""
    why: list[str]
    """What of the rule the probe can't judge."""
    entries: int
    """Rules of the probe that it became, of 1,024."""
