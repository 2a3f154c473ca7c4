from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from vmon.api.sse import Streams, frame


def test_a_frame_is_one_event() -> None:
    assert frame("event", b'{"a":1}', "x-1") == b'id: x-1\nevent: event\ndata: {"a":1}\n\n'
    assert frame("end", b"{}") == b"event: end\ndata: {}\n\n"


class Ended(Exception):
    pass


async def served(streams: Streams, frames: AsyncGenerator[bytes], after: Any) -> list[dict[str, Any]]:
    """What a client gets; `after` is done once it has the first two parts."""
    parts: list[dict[str, Any]] = []
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        parts.append(message)
        if len(parts) == 3:
            after(gone)

    await asyncio.wait_for(streams.respond("a", frames)({}, receive, send), 20)
    return parts


def test_a_stream_ends_with_its_frames_with_the_client_and_with_the_server() -> None:
    closed: list[str] = []

    async def some(forever: bool) -> AsyncGenerator[bytes]:
        try:
            yield b"1"
            if forever:
                await asyncio.Event().wait()
        finally:
            closed.append("closed")

    async def run() -> None:
        streams = Streams()
        parts = await served(streams, some(False), lambda _: None)
        assert [part.get("body") for part in parts] == [None, b": here\n\n", b"1", b""]
        assert not parts[-1]["more_body"]
        await served(streams, some(True), lambda gone: gone.set())
        parts = await served(streams, some(True), lambda _: streams.close())
        assert b"the server ends" in parts[-1]["body"]
        assert not parts[-1]["more_body"]
        assert streams.count == 0

    asyncio.run(run())
    assert closed == ["closed"] * 3
