"""A structure that the guest changes while it is walked can look broken for a moment: then it is walked again.

Reads nothing itself. A guest that lies for good is believed to after a few attempts: the cost of each is bounded by
the reader. What an attempt that failed could not see is forgotten with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError

T = TypeVar("T")
ATTEMPTS = 5


def settled(read: Callable[[Gaps], T], gaps: Gaps, attempts: int = ATTEMPTS) -> T:
    """What `read` gives, and its gaps; where it raises GuestDataError it is asked again, and the last is raised."""
    for _ in range(attempts - 1):
        own = Gaps()
        try:
            found = read(own)
        except GuestDataError:
            continue
        gaps.add_all(own.records())
        return found
    return read(gaps)
