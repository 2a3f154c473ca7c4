"""A browser shows the token once and gets a cookie that scripts can't read; a sign-out makes the cookie worthless."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from vmon.api.endpoints import body_of
from vmon.api.gate import Caller, Gate
from vmon.api.problems import Refused
from vmon.api.sessions import COOKIE, LONGEST_S, Sessions
from vmon.export.document import json_bytes


class SignIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a browser shows."""

    token: str


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """What it gets, beside the cookie."""

    role: str
    csrf: str
    """To be sent as X-CSRF-Token with what changes something."""


async def sign_in(request: Request) -> Response:
    """A session for a token. Refused for a wrong one."""
    gate: Gate = request.app.state.gate
    sessions: Sessions = request.app.state.sessions
    given = await body_of(request, SignIn)
    client = request.client.host if request.client else "socket"
    role = gate.role_of(given.token, client)
    if role is None:
        raise Refused(401, "WrongToken", "this is no token of this server")
    cookie, session = sessions.begin(role)
    answer = Response(json_bytes(SignedIn(role=role, csrf=session.csrf)), media_type="application/json")
    answer.set_cookie(
        COOKIE,
        cookie,
        max_age=int(LONGEST_S),
        path="/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


async def sign_out(request: Request) -> Response:
    """The session is over."""
    caller: Caller | None = request.scope["vmon.caller"]
    if caller is not None and caller.session is not None:
        request.app.state.sessions.end(request.cookies[COOKIE])
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return answer
