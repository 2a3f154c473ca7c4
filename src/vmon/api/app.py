"""The application: every row as a route, with who may in front of it and errors as problems behind it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import PackageNotFoundError, version

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vmon.api import acts, content, metrics, policies, probing, processes, streams, views
from vmon.api.endpoints import caller_of, endpoint, query_of
from vmon.api.gate import Gate, Rules
from vmon.api.hosts import Hosted
from vmon.api.openapi import make_openapi
from vmon.api.problems import Problem, Refused, problem_of, respond
from vmon.api.records import HealthRecord, WhoamiRecord
from vmon.api.sessions import Sessions
from vmon.api.signin import sign_in, sign_out
from vmon.api.static import page_file, read_page
from vmon.api.table import PREFIX, VM, NoQuery, Row, listed
from vmon.core.errors import VmonError
from vmon.export.document import json_bytes

ROWS: tuple[Row, ...] = (
    *probing.ROWS,
    *views.ROWS,
    *processes.ROWS,
    *acts.ROWS,
    *policies.ROWS,
)
"""Every route that is a call on a guest."""


def our_version() -> str:
    """Of the package; of a checkout that was never installed 0."""
    try:
        return version("vmon")
    except PackageNotFoundError:
        return "0"


def json(value: object) -> Response:
    """An answer."""
    return Response(json_bytes(value), media_type="application/json")


async def guests(request: Request) -> Response:
    """Every guest that this server answers for."""
    query_of(request.query_params, NoQuery)
    return json(listed(await request.app.state.pool.records()))


async def whoami(request: Request) -> Response:
    """Who asks, as the server sees it."""
    return json(who(request))


def who(request: Request) -> WhoamiRecord:
    """Who asks."""
    caller = caller_of(request)
    return WhoamiRecord(
        role=caller.role,
        how=caller.how,
        csrf=caller.session.csrf if caller.session else None,
        read_only=request.app.state.read_only,
        version=our_version(),
    )


async def healthz(_: Request) -> Response:
    """Whether the server answers."""
    return json(HealthRecord(status="ok", version=our_version()))


async def openapi(request: Request) -> Response:
    """The description of all this."""
    return Response(request.app.state.openapi, media_type="application/json")


async def on_vmon_error(_: Request, error: Exception) -> Response:
    """An error of the tree."""
    assert isinstance(error, VmonError)
    return respond(problem_of(error))


async def on_refused(_: Request, error: Exception) -> Response:
    """A request that is not for vmon to answer."""
    assert isinstance(error, Refused)
    return error.response()


async def on_http(_: Request, error: Exception) -> Response:
    """What the router says: no such path, no such method."""
    assert isinstance(error, HTTPException)
    title = "".join(word.capitalize() for word in error.detail.split())
    headers = dict(error.headers) if error.headers else None
    return respond(Problem(title=title, status=error.status_code, detail=error.detail.lower()), headers)


async def on_fault(_: Request, error: Exception) -> Response:
    """A fault of vmon itself: its name, and no more, since its text may hold anything."""
    return respond(Problem(title="Fault", status=500, detail=f"a fault of vmon: {type(error).__name__}"))


def make_app(hosted: Hosted, rules: Rules, *, read_only: bool = False) -> Gate:
    """The whole server, ready to be run."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await hosted.close()

    routes = [
        Route(f"{PREFIX}/guests", guests),
        Route(f"{PREFIX}/whoami", whoami),
        # Before the rows, or `stream` would be a pid.
        Route(f"{VM}/processes/stream", streams.processes),
        Route(f"{VM}/events", streams.events),
        Route(f"{VM}/asks", streams.asks),
        Route(f"{VM}/asks/counts", streams.counts),
        Route(f"{VM}/asks/{{id}}", streams.answer, methods=["POST"]),
        *(Route(row.path, endpoint(row), methods=[row.method], name=row.name) for row in ROWS),
        *(Route(row.path, content.download(row), name=row.name) for row in content.DOWNLOADS),
        Route("/session", sign_in, methods=["POST"]),
        Route("/session", sign_out, methods=["DELETE"]),
        Route("/healthz", healthz),
        Route("/openapi.json", openapi),
        Route("/metrics", metrics.metrics),
        Route("/", page_file),
        Route("/{name:path}", page_file),
    ]
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={
            VmonError: on_vmon_error,
            Refused: on_refused,
            HTTPException: on_http,
            Exception: on_fault,
        },
    )
    sessions = Sessions()
    gate = Gate(app, rules, sessions)
    app.state.pool, app.state.hosted, app.state.sessions, app.state.gate = hosted.pool, hosted, sessions, gate
    app.state.read_only, app.state.page = read_only, read_page()
    app.state.openapi = json_bytes(make_openapi(ROWS, content.DOWNLOADS, our_version()))
    return gate
