"""Asks of a guest, decided by who listens over HTTP: each is told with the time that is left, and answered once.

Answers through vmon.monitor.hub. While nobody listens the rules' fallbacks decide at once; while somebody does, a call
of the guest waits for his word for as long as its rule allows, and then the rule's fallback decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from vmon.api.broadcast import Broadcast
from vmon.api.feed import require_probe
from vmon.api.pool import Served
from vmon.api.problems import Refused
from vmon.api.sse import frame, frames_of
from vmon.core.events import Answer, Event
from vmon.core.rules import Fallback
from vmon.export.document import json_bytes

if TYPE_CHECKING:
    from vmon.monitor.answering import Answerer
    from vmon.monitor.hub import Hub

KEPT = 1024
MAX_OVER = 4096
MARGIN_S = 0.02
"""So long before the guest's own time-out nothing is waited for any more: an answer has to get there."""
UNKNOWN_TIMEOUT_MS = 1000


class AskRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A call of the guest that waits for a word."""

    id: str
    event: Event
    fallback: Fallback
    """What becomes of it without an answer."""
    timeout_ms: int
    waits_ms: int
    """How long it may still take."""


class DoneRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was said of one."""

    id: str
    answer: Literal["allow", "deny", "kill", "late"]
    """late: the rule's fallback has decided."""


class AnswerBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The word."""

    answer: Answer


class AskCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many, since this server listens."""

    answered: int
    late: int
    """Answers that came when the fallback had decided."""
    unanswered: int
    """Nobody said anything in time."""
    waiting: int
    """Right now."""
    listeners: int
    """Who could answer."""


@dataclass(slots=True)
class _Waiting:
    record: AskRecord
    answer: asyncio.Future[Answer]
    until: float


class AskFeed:
    """The asks of one guest, for any number of services that answer; the first answer counts."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._told = Broadcast(KEPT)
        self._waiting: dict[str, _Waiting] = {}
        self._over: OrderedDict[str, None] = OrderedDict()
        self._hub: Hub | None = None
        self._answerer: Answerer | None = None
        self._changing = asyncio.Lock()
        self._number = 0
        self._followers = 0
        self._answered = self._late = self._unanswered = 0

    async def frames(self) -> AsyncGenerator[bytes]:
        """Asks that wait now, and all that come. NotSupported where no probe is active."""
        await self._served.call(require_probe)
        return self._follow()

    async def _follow(self) -> AsyncGenerator[bytes]:
        self._followers += 1
        try:
            await self._begin()
            place = self._told.now
            yield frame("begin", json_bytes(self.counts))
            for waiting in list(self._waiting.values()):
                yield frame("ask", json_bytes(_left(waiting)))
            async with aclosing(frames_of(self._told, place)) as frames:
                async for data in frames:
                    yield data
        finally:
            self._followers -= 1
            if not self._followers:
                await asyncio.shield(self._end_if_alone())

    async def _begin(self) -> None:
        async with self._changing:
            hub = await self._served.call(require_probe)
            if self._answerer is not None and hub is self._hub and hub.running:
                return
            loop = asyncio.get_running_loop()
            self._answerer = await self._served.call(lambda _: hub.ask_by(self._decide, loop=loop))
            self._hub = hub

    async def _end_if_alone(self) -> None:
        async with self._changing:
            hub, answerer = self._hub, self._answerer
            if self._followers or hub is None or answerer is None:
                return
            self._hub = self._answerer = None
            self._give_up()
            await asyncio.to_thread(hub.stop_asking, answerer)

    def _give_up(self) -> None:
        for waiting in self._waiting.values():
            if not waiting.answer.done():
                waiting.answer.set_result(waiting.record.fallback)

    async def _decide(self, event: Event) -> Answer:
        """Called by the hub for each ask, on this loop."""
        begin = time.monotonic()
        hub = self._hub
        rule = await asyncio.to_thread(hub.rule, event.rule) if hub is not None else None
        fallback: Fallback = "deny" if rule is None else rule.fallback
        timeout_ms = UNKNOWN_TIMEOUT_MS if rule is None else rule.timeout_ms
        until = begin + timeout_ms / 1000 - MARGIN_S
        self._number += 1
        record = AskRecord(
            id=f"{self._told.name}-{self._number}",
            event=event,
            fallback=fallback,
            timeout_ms=timeout_ms,
            waits_ms=timeout_ms,
        )
        waiting = _Waiting(record, asyncio.get_running_loop().create_future(), until)
        self._waiting[record.id] = waiting
        self._told.put("ask", json_bytes(_left(waiting)))
        said: Answer | None = None
        with contextlib.suppress(TimeoutError):
            said = await asyncio.wait_for(waiting.answer, max(until - time.monotonic(), 0))
        del self._waiting[record.id]
        self._over[record.id] = None
        while len(self._over) > MAX_OVER:
            self._over.popitem(last=False)
        if said is None:
            self._unanswered += 1
        self._told.put("done", json_bytes(DoneRecord(id=record.id, answer=said or "late")))
        return said or fallback

    def answer(self, number: str, answer: Answer) -> DoneRecord:
        """Say it. Refused for an ask that there never was, or that is decided."""
        waiting = self._waiting.get(number)
        if waiting is None or waiting.answer.done():
            if waiting is None and number not in self._over:
                raise Refused(404, "NoSuchAsk", "nothing was asked under this id")
            self._late += 1
            raise Refused(
                410, "TooLate", "this was decided already", hint="by another answer, or by the fallback"
            )
        self._answered += 1
        waiting.answer.set_result(answer)
        return DoneRecord(id=number, answer=answer)

    @property
    def counts(self) -> AskCounts:
        """How many there were."""
        return AskCounts(
            answered=self._answered,
            late=self._late,
            unanswered=self._unanswered,
            waiting=len(self._waiting),
            listeners=self._followers,
        )

    async def close(self) -> None:
        """Answer nothing more."""
        async with self._changing:
            hub, answerer = self._hub, self._answerer
            self._hub = self._answerer = None
            self._give_up()
            if hub is not None and answerer is not None:
                await asyncio.to_thread(hub.stop_asking, answerer)


def _left(waiting: _Waiting) -> AskRecord:
    left_ms = max(int((waiting.until - time.monotonic()) * 1000), 0)
    return msgspec.structs.replace(waiting.record, waits_ms=left_ms)
