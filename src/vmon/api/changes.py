"""The processes of a guest as they come and go, told to all who follow them; the guest is looked at for all at once.

Compares snapshots four times a second while somebody follows, less often where a look costs much, and not at all else.
Reads the guest, changes nothing; what lives between two looks is not seen.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from vmon.api.broadcast import Broadcast, Lost, Told
from vmon.api.pool import Served
from vmon.api.problems import problem_of
from vmon.api.sse import BEAT, frame
from vmon.core.coverage import GapRecord
from vmon.core.errors import TargetError, TargetGone, VmonError
from vmon.core.records.process import ProcessRecord
from vmon.export.document import json_bytes
from vmon.monitor.machine import VirtualMachine

LOOK_S = 0.25
REST = 9
"""At least so many times as long as a look used a core nobody looks: a tenth of one for the largest guests."""
KEPT = 64


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What became of processes between two looks."""

    started: list[ProcessRecord]
    changed: list[ProcessRecord]
    ended: list[str]
    """Keys."""
    interval_s: float = 0
    """Seconds between the two looks."""


Table = dict[str, ProcessRecord]


def compare(before: Table, after: Table) -> Changes:
    """What became of the processes of one look in the next."""
    return Changes(
        started=[record for key, record in after.items() if key not in before],
        changed=[record for key, record in after.items() if key in before and record != before[key]],
        ended=[key for key in before if key not in after],
    )


def look(vm: VirtualMachine) -> tuple[Table, list[GapRecord]]:
    """Every process by its key, and what could not be seen of them."""
    found = vm.processes()
    records = [process.record() for process in found]
    return {record.key: record for record in records}, found.coverage


def _timed_look(vm: VirtualMachine) -> tuple[tuple[Table, list[GapRecord]], float]:
    # CPU time: on a host that is busy with others a look takes long, and costs no more for it.
    began = time.thread_time()
    found = look(vm)
    return found, time.thread_time() - began


class ProcessFeed:
    """The processes of one guest, for any number of followers."""

    def __init__(self, served: Served, look_s: float = LOOK_S) -> None:
        self._served = served
        self._look_s = look_s
        self._told = Broadcast(KEPT)
        self._table: Table = {}
        self._coverage: list[GapRecord] = []
        self._looking: asyncio.Task[None] | None = None
        self._beginning = asyncio.Lock()
        self._followers = 0

    async def frames(self) -> AsyncGenerator[bytes]:
        """A snapshot, then changes; another snapshot where changes were lost on a slow client."""
        await self._begin()
        return self._follow()

    async def _begin(self) -> None:
        async with self._beginning:
            if self._looking is None or self._looking.done():
                self._table, self._coverage = await self._served.call(look)
                self._looking = asyncio.create_task(self._look())

    async def _follow(self) -> AsyncGenerator[bytes]:
        self._followers += 1
        try:
            # Who looked may have ended since, because nobody followed yet.
            await self._begin()
            place = self._told.now
            yield self._snapshot()
            async for frames in self._changes(place):
                yield frames
        finally:
            self._followers -= 1

    async def _changes(self, place: int) -> AsyncGenerator[bytes]:
        async with aclosing(self._told.follow(place)) as batches:
            async for batch in batches:
                if any(isinstance(told, Lost) for told in batch):
                    # All that was lost is in it.
                    yield self._snapshot()
                    continue
                yield (
                    b"".join(frame(told.name, told.data) for told in batch if isinstance(told, Told)) or BEAT
                )
                if any(isinstance(told, Told) and told.name == "end" for told in batch):
                    return

    def _snapshot(self) -> bytes:
        return frame(
            "snapshot", json_bytes({"coverage": self._coverage, "records": list(self._table.values())})
        )

    async def _look(self) -> None:
        """Ends when nobody follows any more, or when the guest is gone."""
        trouble, rest_s, before = "", self._look_s, time.monotonic()
        while True:
            await asyncio.sleep(rest_s)
            began = time.monotonic()
            if not self._followers:
                return
            try:
                (after, self._coverage), used_s = await self._served.call(_timed_look)
            except TargetGone as error:
                self._told.put("end", json_bytes({"why": error.message}))
                return
            except VmonError as error:
                # A guest that boots has no processes yet: it is said once, and looked for on.
                if error.message != trouble:
                    trouble = error.message
                    self._told.put("problem", json_bytes(problem_of(error)))
                if isinstance(error, TargetError):
                    await asyncio.sleep(self._look_s)
                continue
            trouble = ""
            rest_s = max(self._look_s, REST * used_s)
            changes = msgspec.structs.replace(
                compare(self._table, after), interval_s=round(began - before, 4)
            )
            before = began
            self._table = after
            if changes.started or changes.changed or changes.ended:
                self._told.put("changes", json_bytes(changes))

    async def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
