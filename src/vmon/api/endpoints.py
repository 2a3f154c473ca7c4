"""A row becomes an endpoint: what is asked is checked before the guest is, and the answer is made on its thread.

Nothing of a request reaches a call but what its row's types let through.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from vmon.api.gate import Caller
from vmon.api.pool import Pool, Served
from vmon.api.problems import Refused
from vmon.api.table import Asked, Row, listed
from vmon.api.tokens import Role
from vmon.core.errors import UsageError
from vmon.core.text import printable
from vmon.export.document import json_bytes
from vmon.monitor.machine import VirtualMachine

Endpoint = Callable[[Request], Awaitable[Response]]
S = TypeVar("S", bound=msgspec.Struct)
MAX_PID = 1 << 22
MAX_NUMBER_CHARS = 20
LOG = logging.getLogger("vmon.api")


def caller_of(request: Request) -> Caller:
    """Who asks; the gate has seen to it that somebody does."""
    caller: Caller = request.scope["vmon.caller"]
    return caller


def require(request: Request, role: Role, *, changes: bool = False) -> Caller:
    """Refused for a viewer where an operator is needed, and for every change where nothing may be changed."""
    caller = caller_of(request)
    if role == "operator" and caller.role != "operator":
        raise Refused(403, "NotYours", "this is for operators", hint="you have a viewer's token")
    if changes and request.app.state.read_only:
        raise Refused(403, "ReadOnly", "this server changes no guest", hint="it was started with --read-only")
    return caller


def endpoint(row: Row) -> Endpoint:
    """The endpoint of a row."""

    async def answer(request: Request) -> Response:
        caller = require(request, row.role, changes=row.changes)
        query = query_of(request.query_params, row.query)
        body = await body_of(request, row.body) if row.body is not None else None
        path = path_of(request)
        served = await served_of(request)

        def on_thread(vm: VirtualMachine) -> bytes:
            found = row.call(Asked(vm, served, path, query, body))
            return json_bytes(found if isinstance(found, dict) or not row.many else listed(found))

        data = await served.call(on_thread)
        if row.changes:
            log_change(caller, request)
        return Response(data, media_type="application/json")

    return answer


def log_change(caller: Caller, request: Request) -> None:
    """Who changed what, for whoever reads the server's log."""
    LOG.info(
        "%s %s by %s, %s from %s",
        request.method,
        printable(request.url.path),
        caller.role,
        caller.how,
        caller.client,
    )


async def served_of(request: Request) -> Served:
    """The guest that a path names."""
    pool: Pool = request.app.state.pool
    return await pool.get(request.path_params["vm"])


def path_of(request: Request) -> dict[str, int | str]:
    """The parts of a path that vary; Refused for a number that is none."""
    found: dict[str, int | str] = {}
    for name, text in request.path_params.items():
        if name not in NUMBERS:
            found[name] = text
        elif text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= NUMBERS[name]:
            found[name] = int(text)
        else:
            raise Refused(404, "NotFound", f"{name} is a number from 0 to {NUMBERS[name]}")
    return found


NUMBERS = {"pid": MAX_PID, "number": 0xFFFF_FFFF, "fd": 0x7FFF_FFFF}
"""Parts of paths that are numbers, and the highest of each."""


def query_of(params: QueryParams, of: type[S]) -> S:
    """The parameters behind the question mark. UsageError for one that is unknown, given twice, or wrong."""
    found: dict[str, str] = {}
    for name, text in params.multi_items():
        if name in found:
            raise UsageError(f"{name[:40]!r} is given twice")
        if len(text) > MAX_NUMBER_CHARS and text.lstrip("-").isdecimal():
            raise UsageError(f"{name[:40]!r}: a number of more than 64 bits")
        found[name] = text
    try:
        return msgspec.convert(found, of, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"parameters: {error}") from error


async def body_of(request: Request, of: type[S]) -> S:
    """The body as JSON. UsageError for a wrong one; another kind is what a form of another page could send."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(415, "WrongType", "a body of application/json is wanted")
    try:
        return msgspec.json.decode(await request.body(), type=of)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"body: {error}") from error
