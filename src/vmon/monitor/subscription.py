"""A subscription is one reader's share of a machine's events: a bounded queue, a loop over it, what it lost.

Filled by the thread of vmon.monitor.hub. Who reads too slowly loses the newest events, and is told how many: a guest
that makes events faster than anybody reads must not fill the host's memory.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Self

from vmon.core.errors import VmonError
from vmon.core.events import Event

QUEUE_EVENTS = 65_536
"""Three seconds of 20,000 events each; some 40 MB when it is full."""

Only = Callable[[Event], bool]


class Share:
    """The hub's end: what it puts in, and whether anybody is left to take it out."""

    def __init__(self, events: Sequence[str], only: Only | None, size: int) -> None:
        self.events = frozenset(events)
        self._only = only
        self._size = size
        self._queue: deque[Event] = deque()
        self._changed = threading.Condition()
        self.wake: Callable[[], None] | None = None
        """Called, in the hub's thread, when there is something new."""
        self.lost = 0
        self.closed = False
        self.error: BaseException | None = None

    def put(self, batch: Sequence[Event]) -> None:
        """Those of a batch that are wanted, as far as there is room."""
        only, kinds = self._only, self.events
        try:
            # `only` is shown every event: it may learn from those of other kinds.
            shown = batch if only is None else [event for event in batch if only(event)]
        except Exception as error:
            self.end(error)
            return
        kept = [event for event in shown if event.event in kinds]
        if not kept:
            return
        with self._changed:
            room = max(self._size - len(self._queue), 0)
            self.lost += max(len(kept) - room, 0)
            self._queue.extend(kept[:room])
            self._changed.notify_all()
        self._call()

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more will come; what came is still there."""
        with self._changed:
            self.closed = True
            self.error = self.error or error
            self._changed.notify_all()
        self._call()

    def _call(self) -> None:
        if self.wake is not None:
            self.wake()

    def take(self) -> list[Event]:
        """All that is there."""
        with self._changed:
            found = list(self._queue)
            self._queue.clear()
        return found

    def take_one(self, deadline: float | None) -> Event | None:
        """The next event; None when there is none by then, or nothing more will come."""
        with self._changed:
            while not self._queue and not self.closed:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self._changed.wait(left)
            return self._queue.popleft() if self._queue else None

    def drained(self) -> bool:
        """Whether nothing is left and nothing will come."""
        return self.closed and not self._queue


class Subscription:
    """Events for one reader, from the moment it was made: an iterator for `for` and for `async for`.

    It ends when it is closed, when its time-out has passed, or with the error that ended the watching. Leaving the loop
    lets go of it.
    """

    def __init__(self, share: Share, drop: Callable[[Share], None], timeout_s: float | None = None) -> None:
        self._share = share
        self._drop = drop
        self._timeout_s = timeout_s
        self._deadline: float | None = None
        # The hub looks at the mark: locks must not be taken wherever Python happens to collect garbage.
        weakref.finalize(self, setattr, share, "closed", True)

    @property
    def lost(self) -> int:
        """Events that were not kept because this reader was too slow; what the guest's ring lost is in the totals."""
        return self._share.lost

    def take(self) -> list[Event]:
        """What has come since the last call, without waiting. When drained, raises what ended the watching."""
        found = self._share.take()
        if not found:
            self._raise()
        return found

    def close(self) -> None:
        """No more events; the last reader's end ends the recording too."""
        if not self._share.closed:
            self._share.end()
        self._drop(self._share)

    def _begin(self) -> float | None:
        if self._deadline is None and self._timeout_s is not None:
            self._deadline = time.monotonic() + self._timeout_s
        return self._deadline

    def _raise(self) -> None:
        if self._share.error is not None and self._share.drained():
            raise self._share.error

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        event = self._share.take_one(self._begin())
        if event is None:
            self.close()
            self._raise()
            raise StopIteration
        return event

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aiter__(self) -> AsyncIterator[Event]:
        """The same for `async for`: the loop goes on with other work while nothing comes."""
        import asyncio  # noqa: PLC0415 - who loops without it pays nothing

        share, loop, ready = self._share, asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(ready.set)

        share.wake = wake
        deadline = self._begin()
        try:
            while True:
                ready.clear()
                for event in share.take():
                    yield event
                if share.drained():
                    self._raise()
                    return
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return
                try:
                    await asyncio.wait_for(ready.wait(), left)
                except TimeoutError:
                    continue
        finally:
            share.wake = None
            await asyncio.to_thread(self.close)


def ended_by(error: BaseException) -> BaseException:
    """What a reader is told: an error of vmon as it is, another as the fault of the watching that it was."""
    if isinstance(error, VmonError):
        return error
    return VmonError(f"the watching ended: {type(error).__name__}: {error}")
