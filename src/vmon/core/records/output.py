"""How an output of records fares: what it took, what arrived, what was lost. Pure data."""

from __future__ import annotations

import msgspec


class OutputRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The totals of one output; taken = delivered + dropped + waiting."""

    name: str
    """Where it leads, without passwords."""
    format: str
    taken: int
    delivered: int
    """Handed over: written to the file, accepted by the server; to a socket without answers, given to the kernel."""
    retried: int
    """Tries after the first, of a batch each."""
    dropped: int
    waiting: int
    last_error: str = ""
    """Why the last try failed; empty where none did."""
