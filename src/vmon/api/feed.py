"""The events of a guest, taken once from its hub and told to all who follow them, with a place to go on from.

One subscription of vmon.monitor.hub for the kinds that somebody follows. Ended some seconds after the last follower
went, so that one who comes back misses nothing. Follows a probe that is there, and never puts one in by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

from vmon.api.broadcast import Broadcast, Told
from vmon.api.pool import Served
from vmon.api.sse import frame, frames_of
from vmon.core.errors import VmonError
from vmon.core.events import Event
from vmon.core.records.probe import NoticeRecord
from vmon.export.document import json_bytes
from vmon.monitor.machine import VirtualMachine
from vmon.monitor.stream import NAMES

if TYPE_CHECKING:
    from vmon.monitor.hub import Hub
    from vmon.monitor.subscription import Subscription

KEPT = 16_384
QUEUE_EVENTS = 8192
LINGER_S = 30.0
REFUSED = ("denied", "killed", "would deny", "would kill")


def require_probe(vm: VirtualMachine) -> Hub:
    """The hub of a guest that has a probe. NotSupported where none is active: nobody puts one in by looking."""
    vm.rules()
    return vm.hub


class EventFeed:
    """The events of one guest, for any number of followers."""

    def __init__(self, served: Served, linger_s: float = LINGER_S) -> None:
        self._served = served
        self._linger_s = linger_s
        self._told = Broadcast(KEPT)
        self._taking: dict[asyncio.Task[None], frozenset[str]] = {}
        self._subscriptions: list[Subscription] = []
        self._hubs: list[Hub] = []
        self._changing = asyncio.Lock()
        self._followers = 0
        self._lingering: asyncio.TimerHandle | None = None

    @property
    def running(self) -> bool:
        """Whether events are taken."""
        return bool(self._taking)

    async def frames(
        self, kinds: Iterable[str], wanted: Callable[[Event], bool], last_id: str
    ) -> AsyncGenerator[bytes]:
        """Events of these kinds, of all where none is named, from now on or behind `last_id`.

        NotSupported where no probe is active, or a kind can't be seen; UsageError for a name that is none.
        """
        names = frozenset(kinds) or frozenset(NAMES)
        place = await self._begin(names)
        return self._follow(names, wanted, last_id, place)

    async def _follow(
        self, names: frozenset[str], wanted: Callable[[Event], bool], last_id: str, place: int
    ) -> AsyncGenerator[bytes]:
        def chosen(told: Told) -> bool:
            event = told.about
            return not isinstance(event, Event) or (event.event in names and wanted(event))

        self._followers += 1
        try:
            if self._lingering is not None:
                self._lingering.cancel()
            # What was taken may have ended since, because nobody followed yet.
            await self._begin(names)
            if last_id:
                behind = self._told.place(last_id)
                if behind is None:
                    yield frame("lost", json_bytes({"count": None}))
                else:
                    place = behind
            async with aclosing(frames_of(self._told, place, chosen)) as frames:
                async for data in frames:
                    yield data
        finally:
            self._followers -= 1
            self._linger()

    def _linger(self) -> None:
        if not self._followers:
            if self._lingering is not None:
                self._lingering.cancel()
            loop = asyncio.get_running_loop()
            self._lingering = loop.call_later(self._linger_s, self._end_if_alone)

    async def _begin(self, names: frozenset[str]) -> int:
        """See to it that these kinds are taken; the place from which on they are told."""
        async with self._changing:
            missing = names.difference(*self._taking.values())
            place = self._told.now
            if not missing:
                return place

            everything = len(names) == len(NAMES)

            def subscribe(vm: VirtualMachine) -> tuple[Hub, Subscription]:
                hub = require_probe(vm)
                # Of all kinds those that can be seen here; of kinds that were named it is said where one can't.
                kinds = () if everything else sorted(missing)
                return hub, hub.subscribe(kinds, lambda event: event.event in missing, QUEUE_EVENTS)

            hub, subscription = await self._served.call(subscribe)
            if hub not in self._hubs:
                self._hubs.append(hub)
                loop = asyncio.get_running_loop()
                hub.hear(lambda notice: self._hear(loop, notice))
            self._subscriptions.append(subscription)
            task = asyncio.create_task(self._take(subscription))
            self._taking[task] = missing
            task.add_done_callback(lambda done: self._taking.pop(done, None))
            self._served.watched = True
            self._linger()
            return place

    def _hear(self, loop: asyncio.AbstractEventLoop, notice: NoticeRecord) -> None:
        with suppress(RuntimeError):  # a loop that has ended hears nothing
            loop.call_soon_threadsafe(self._told.put, "notice", json_bytes(notice), notice)

    async def _take(self, subscription: Subscription) -> None:
        lost, why = 0, "the watching ended"
        try:
            async for event in subscription:
                self._told.put("event", json_bytes(event), event)
                if subscription.lost > lost:
                    self._told.put("lost", json_bytes({"count": subscription.lost - lost}))
                    lost = subscription.lost
        except VmonError as error:
            why = error.message
        self._told.put("end", json_bytes({"why": why}))
        self._served.watched = False

    def _end_if_alone(self) -> None:
        if not self._followers:
            for task in self._taking:
                task.cancel()
            self._taking.clear()
            self._subscriptions.clear()
            self._served.watched = False

    async def close(self) -> None:
        """Take no more; what was recorded for us is recorded no more."""
        tasks = list(self._taking)
        self._taking.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
