"""Everything that a running server holds: its guests, the feeds of each, the streams that are open.

Feeds are made when somebody first follows, and thrown away with their guest.
"""

from __future__ import annotations

import asyncio

from vmon.api.asks import AskFeed
from vmon.api.changes import ProcessFeed
from vmon.api.feed import EventFeed
from vmon.api.pool import Pool, Served
from vmon.api.probing import at_the_end
from vmon.api.sse import Streams


class Feeds:
    """What is told of one guest."""

    def __init__(self, served: Served) -> None:
        self.events = EventFeed(served)
        self.processes = ProcessFeed(served)
        self.asks = AskFeed(served)

    async def close(self) -> None:
        """Tell nothing more."""
        await asyncio.gather(self.events.close(), self.processes.close(), self.asks.close())


class Hosted:
    """What a server holds; of one event loop."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.streams = Streams()
        self._feeds: dict[Served, Feeds] = {}

    def feeds(self, served: Served) -> Feeds:
        """What is told of a guest."""
        if served not in self._feeds:
            self._feeds[served] = Feeds(served)
        return self._feeds[served]

    def end_streams(self) -> None:
        """The server ends: so do its streams."""
        self.streams.close()

    async def close(self) -> None:
        """End all, and let go of every guest."""
        self.end_streams()
        await asyncio.gather(*(feeds.close() for feeds in self._feeds.values()))
        await self.pool.close(at_the_end)
