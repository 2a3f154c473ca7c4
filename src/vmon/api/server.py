"""The server as a process: uvicorn on a socket that was made before, streams that end when it shall end.

SIGTERM and Ctrl-C end it: no new requests, streams are closed, guests are let go of.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from vmon.api.gate import Gate

CONNECTIONS = 256
HEADERS_S = 10.0
IDLE_S = 15
LONGEST_END_S = 10


class Server(uvicorn.Server):
    """Tells the streams before it waits for them."""

    def __init__(self, config: uvicorn.Config, on_end: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_end = on_end

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """No new requests; what runs comes to its end."""
        self._on_end()
        await super().shutdown(sockets)


class Impatient(H11Protocol):
    """Lets go of who connects and does not say in time what he wants."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The clock runs from here."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEADERS_S, self._give_up)

    def _give_up(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody to be let go of."""
        self._deadline.cancel()
        super().connection_lost(exc)


def run(gate: Gate, listening: socket.socket, on_end: Callable[[], None]) -> None:
    """Until a signal ends it."""
    config = uvicorn.Config(
        gate,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        http=Impatient,
        ws="none",
        loop="asyncio",
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=LONGEST_END_S,
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        # uvicorn ends well at the first, and raises the signal once more: it has been obeyed by then.
        signal.signal(number, lambda *_: None)
    asyncio.run(Server(config, on_end).serve(sockets=[listening]))
