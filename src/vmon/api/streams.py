"""The streams of a guest as endpoints: its processes, its events, its asks; and the word on an ask."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from vmon.api.asks import AnswerBody
from vmon.api.endpoints import body_of, log_change, query_of, require, served_of
from vmon.api.feed import REFUSED
from vmon.api.hosts import Hosted
from vmon.api.sse import last_id
from vmon.api.table import NoQuery
from vmon.api.views import words
from vmon.core.errors import UsageError
from vmon.core.events import Event
from vmon.export.document import json_bytes


class EventsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events."""

    on: str = ""
    """Kinds with commas between: process.exec,file.open; all that can be seen where none is named."""
    pid: str = ""
    """Only of these processes, with commas between."""
    denied: bool = False
    """Only what was refused or killed, or would be."""
    since: str = ""
    """Go on behind the event of this id; a browser says it by itself, as Last-Event-ID. first: all that is kept."""


def hosted_of(request: Request) -> Hosted:
    """What the server holds."""
    found: Hosted = request.app.state.hosted
    return found


async def processes(request: Request) -> Response:
    """A snapshot of all processes, then what changes."""
    caller = require(request, "viewer")
    query_of(request.query_params, NoQuery)
    hosted, served = hosted_of(request), await served_of(request)
    return hosted.streams.respond(caller.client, await hosted.feeds(served).processes.frames())


async def events(request: Request) -> Response:
    """Events as they happen. To follow them is to tell the probe what to record."""
    caller = require(request, "viewer", changes=True)
    query = query_of(request.query_params, EventsQuery)
    hosted, served = hosted_of(request), await served_of(request)
    frames = await hosted.feeds(served).events.frames(
        words(query.on), _Wanted(_pids(query.pid), query.denied), last_id(request, query.since)
    )
    return hosted.streams.respond(caller.client, frames)


class _Wanted:
    """Which events somebody wants."""

    def __init__(self, pids: frozenset[int], denied: bool) -> None:
        self._pids = pids
        self._denied = denied

    def __call__(self, event: Event) -> bool:
        if self._denied and event.verdict not in REFUSED:
            return False
        return not self._pids or event.pid in self._pids or event.target_pid in self._pids


def _pids(text: str) -> frozenset[int]:
    found = words(text)
    if not all(word.isascii() and word.isdecimal() and len(word) <= 10 for word in found):
        raise UsageError("pid is numbers with commas between")
    return frozenset(map(int, found))


async def asks(request: Request) -> Response:
    """Calls of the guest that wait for a word."""
    caller = require(request, "operator", changes=True)
    query_of(request.query_params, NoQuery)
    hosted, served = hosted_of(request), await served_of(request)
    return hosted.streams.respond(caller.client, await hosted.feeds(served).asks.frames())


async def answer(request: Request) -> Response:
    """The word on one."""
    caller = require(request, "operator", changes=True)
    body = await body_of(request, AnswerBody)
    hosted, served = hosted_of(request), await served_of(request)
    done = hosted.feeds(served).asks.answer(request.path_params["id"], body.answer)
    log_change(caller, request)
    return Response(json_bytes(done), media_type="application/json")


async def counts(request: Request) -> Response:
    """How many asks there were."""
    require(request, "viewer")
    hosted, served = hosted_of(request), await served_of(request)
    return Response(json_bytes(hosted.feeds(served).asks.counts), media_type="application/json")
