"""Server-sent events: text lines to a browser or to curl, a comment now and then, an end that is said.

Pure, but for the waiting. Data is one line of JSON; nothing of a guest can begin another field or another event.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from vmon.api.broadcast import Broadcast, Lost, Told
from vmon.api.problems import Refused
from vmon.export.document import json_bytes

MAX_STREAMS = 128
MAX_STREAMS_CLIENT = 24
BEAT = b": here\n\n"


def frame(name: str, data: bytes, number: str = "") -> bytes:
    """One event. JSON on one line has no line ends in it, whatever it says."""
    head = f"id: {number}\nevent: {name}\n" if number else f"event: {name}\n"
    return head.encode() + b"data: " + data + b"\n\n"


def end(why: str) -> bytes:
    """The last event of a stream."""
    return frame("end", json_bytes({"why": why}))


async def frames_of(
    told: Broadcast, place: int, wanted: Callable[[Told], bool] = lambda _: True
) -> AsyncGenerator[bytes]:
    """What is told from a place on, as frames, several at once; until the end is told."""
    async with aclosing(told.follow(place, wanted)) as batches:
        async for batch in batches:
            yield b"".join(_frame(told, item) for item in batch) or BEAT
            if any(isinstance(item, Told) and item.name == "end" for item in batch):
                return


def _frame(told: Broadcast, item: Told | Lost) -> bytes:
    if isinstance(item, Lost):
        return frame("lost", json_bytes({"count": item.count}))
    return frame(item.name, item.data, told.id_of(item))


class Streams:
    """The streams that are open: how many of whom, and their common end."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}
        self.closing = asyncio.Event()

    def close(self) -> None:
        """End all of them."""
        self.closing.set()

    @property
    def count(self) -> int:
        """How many are open."""
        return sum(self._open.values())

    def respond(self, client: str, frames: AsyncGenerator[bytes]) -> StreamResponse:
        """A stream of frames, until they end, the client goes or the server ends. Refused for one too many."""
        if self._open.get(client, 0) >= MAX_STREAMS_CLIENT or self.count >= MAX_STREAMS:
            raise Refused(429, "TooManyStreams", "too many streams are open", headers={"retry-after": "5"})
        return StreamResponse(self, client, frames)

    @contextmanager
    def counted(self, client: str) -> Iterator[None]:
        """One stream of a client, while it is open."""
        self._open[client] = self._open.get(client, 0) + 1
        try:
            yield
        finally:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]


class StreamResponse(Response):
    """A response that goes on. What it follows is let go of before it is over, however it ends."""

    def __init__(self, streams: Streams, client: str, frames: AsyncGenerator[bytes]) -> None:
        super().__init__(media_type="text/event-stream", headers={"x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._streams = streams
        self._client = client
        self._frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Until it ends, from either side."""
        gone = asyncio.ensure_future(_gone(receive))
        closing = asyncio.ensure_future(self._streams.closing.wait())
        coming: asyncio.Future[bytes] | None = None
        with self._streams.counted(self._client):
            try:
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await send({"type": "http.response.body", "body": BEAT, "more_body": True})
                while not gone.done():
                    coming = asyncio.ensure_future(anext(self._frames, b""))
                    await asyncio.wait((coming, gone, closing), return_when=asyncio.FIRST_COMPLETED)
                    if gone.done():
                        return
                    over = closing.done()
                    data = end("the server ends") if over else coming.result()
                    await send(
                        {"type": "http.response.body", "body": data, "more_body": not over and bool(data)}
                    )
                    if over or not data:
                        return
            finally:
                tasks: list[asyncio.Future[Any]] = [gone, closing, *([coming] if coming is not None else [])]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await self._frames.aclose()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def last_id(request: Request, given: str) -> str:
    """Where a reader was: what its browser says by itself, or the parameter."""
    return request.headers.get("last-event-id", "")[:64] or given[:64]
