"""What is told to many: the last so many things in order, each reader with a place of its own in them.

Pure asyncio, of one event loop. A reader that is slower than what happens loses the oldest, and learns how many; what
is kept does not grow with the number of readers. Numbers begin with a name of this very broadcast, so that a place in
another one, of a server before, is known to be none of ours.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

KEPT = 5000
BATCH = 500
BEAT_S = 15.0
FIRST = "first"
"""In place of an id: all that is kept."""


@dataclass(frozen=True, slots=True)
class Told:
    """One thing that is told."""

    number: int
    name: str
    """event, notice, end..."""
    data: bytes
    """JSON."""
    about: object = None
    """What it was made from, for who chooses."""


@dataclass(frozen=True, slots=True)
class Lost:
    """So many were not kept for this reader; None where nobody knows."""

    count: int | None


class Broadcast:
    """Told by one, heard by many."""

    def __init__(self, kept: int = KEPT) -> None:
        self.name = secrets.token_hex(4)
        self.readers = 0
        self._kept: deque[Told] = deque(maxlen=kept)
        self._next = 1
        self._more = asyncio.Event()

    def put(self, name: str, data: bytes, about: object = None) -> None:
        """Tell everybody; not to be called from another thread."""
        self._kept.append(Told(self._next, name, data, about))
        self._next += 1
        self._more.set()
        self._more = asyncio.Event()

    @property
    def now(self) -> int:
        """The place behind the last that was told."""
        return self._next

    def id_of(self, told: Told) -> str:
        """What a reader shows to go on behind it."""
        return f"{self.name}-{told.number}"

    def place(self, last_id: str) -> int | None:
        """The place behind what has this id, of the oldest that is kept for "first"; None for one that is not ours."""
        if last_id == FIRST:
            return self._next - len(self._kept)
        name, _, number = last_id.partition("-")
        if name != self.name or not (number.isascii() and number.isdecimal()) or len(number) > 18:
            return None
        return min(int(number) + 1, self._next)

    async def follow(
        self, place: int, wanted: Callable[[Told], bool] = lambda _: True, beat_s: float = BEAT_S
    ) -> AsyncGenerator[list[Told | Lost]]:
        """From a place on, as many at once as there are; an empty list when nothing was told for a while. For ever."""
        self.readers += 1
        try:
            while True:
                more = self._more
                found, place = self._behind(place, wanted)
                if found:
                    yield found
                    continue
                if place < self._next:
                    await asyncio.sleep(0)  # many that are not wanted: others have their turn
                    continue
                try:
                    await asyncio.wait_for(more.wait(), beat_s)
                except TimeoutError:
                    yield []
        finally:
            self.readers -= 1

    def _behind(self, place: int, wanted: Callable[[Told], bool]) -> tuple[list[Told | Lost], int]:
        oldest = self._next - len(self._kept)
        found: list[Told | Lost] = []
        if place < oldest:
            found.append(Lost(oldest - place))
            place = oldest
        end = min(self._next, place + BATCH)
        kept = (self._kept[at - oldest] for at in range(place, end))
        return [*found, *(told for told in kept if wanted(told))], end
