"""Every request passes here before anything looks at it: where it came from, who sends it, how much, how often.

An ASGI layer around the application. It believes no header that a page elsewhere could have set: a cookie counts only
with the right Host, from pages of this server, and, where something is to be changed, with the session's own word.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vmon.api.limits import Limit
from vmon.api.problems import Refused
from vmon.api.sessions import COOKIE, Session, Sessions
from vmon.api.tokens import Role, Tokens

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
CLOSED = ("/api/", "/metrics")
"""Below these nobody gets in who has not said who he is; all else is the same for everybody, and says nothing."""
SESSION_PATH = "/session"
MAX_BODY_BYTES = 1 << 20
BODY_S = 10.0
SEND_S = 30.0
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
SINGLE = (b"host", b"authorization", b"cookie", b"origin", b"content-length", b"x-csrf-token")
"""Headers of which a second one is a trick."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    role: Role
    how: Literal["socket", "token", "session"]
    client: str
    """Where it came from: the address, or `socket`."""
    session: Session | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a server lets in."""

    tokens: Tokens | None
    """None: who can open the socket is an operator."""
    hosts: frozenset[str] | None
    """Names by which this server may be called, with ports; None on a socket of this host, which no browser opens."""


class Gate:
    """Lets requests through to `app`, with `scope["vmon.caller"]` set to a Caller or None."""

    def __init__(
        self,
        app: ASGIApp,
        rules: Rules,
        sessions: Sessions,
        requests: Limit | None = None,
        failures: Limit | None = None,
    ) -> None:
        self._app = app
        self._rules = rules
        self._sessions = sessions
        self._requests = requests or Limit(burst=400, per_second=100)
        self.failures = failures or Limit(burst=10, per_second=0.2)
        """Wrong tokens: ten, and one more every five seconds. A right one is taken all the same, or who guesses could
        lock out who knows; tokens are too long to be guessed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = list(message.get("headers", ()))
                names = {name.lower() for name, _ in found}
                found += [(name, value) for name, value in HEADERS if name not in names]
                if b"cache-control" not in names:
                    found.append((b"cache-control", b"no-store"))
                message = {**message, "headers": found}
            await asyncio.wait_for(send(message), SEND_S)

        try:
            scope["vmon.caller"] = self._judge(scope)
        except Refused as refused:
            await refused.response()(scope, receive, guarded)
            return
        try:
            await self._app(scope, _bounded(receive), guarded)
        except TimeoutError:
            return  # takes nothing: the server closes what is not complete

    def _judge(self, scope: Scope) -> Caller | None:
        headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
        for name in SINGLE:
            if sum(1 for each, _ in headers if each == name) > 1:
                raise Refused(400, "BadRequest", f"a second {name.decode()} header")
        found = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        client = scope["client"][0] if scope.get("client") else "socket"
        if wait_s := self._requests.take(client):
            raise Refused(429, "TooManyRequests", "too many requests", headers={"retry-after": str(wait_s)})
        self._check_host(found)
        path, method = scope["path"], scope["method"]
        inside = path.startswith(CLOSED)
        changes = method not in SAFE_METHODS
        if inside or changes:
            _check_origin(scope, found, changes=changes)
        length = found.get("content-length", "0")
        if not length.isdecimal() or len(length) > 15 or int(length) > MAX_BODY_BYTES:
            raise Refused(413, "TooLarge", f"a body of at most {MAX_BODY_BYTES:,} bytes", headers=CLOSE)
        if not inside and path != SESSION_PATH:
            return None
        caller = self._caller(found, client)
        if caller is None:
            if inside:
                raise Refused(
                    401,
                    "WhoAreYou",
                    "a token is needed",
                    hint="Authorization: Bearer TOKEN, with a token of the server's token file",
                    headers={"www-authenticate": 'Bearer realm="vmon"'},
                )
            return None
        if changes and caller.session is not None:
            given = found.get("x-csrf-token", "")
            if not hmac.compare_digest(given.encode("latin-1"), caller.session.csrf.encode()):
                raise Refused(
                    403, "CrossSite", "X-CSRF-Token is not this session's", hint="GET /api/v1/whoami has it"
                )
        return caller

    def _check_host(self, found: dict[str, str]) -> None:
        hosts = self._rules.hosts
        if hosts is not None and found.get("host", "").lower() not in hosts:
            raise Refused(
                421,
                "WrongHost",
                "this server is not called that",
                hint="--allow-host NAME lets it be called by another name",
            )

    def _caller(self, found: dict[str, str], client: str) -> Caller | None:
        if self._rules.tokens is None:
            return Caller("operator", "socket", client)
        scheme, _, token = found.get("authorization", "").partition(" ")
        if scheme:
            role = self.role_of(token.strip(), client) if scheme.lower() == "bearer" else None
            if role is None:
                raise Refused(
                    401,
                    "WrongToken",
                    "this is no token of this server",
                    headers={"www-authenticate": 'Bearer realm="vmon", error="invalid_token"'},
                )
            return Caller(role, "token", client)
        try:
            cookie = SimpleCookie(found.get("cookie", "")).get(COOKIE)
        except CookieError:
            return None
        session = self._sessions.find(cookie.value) if cookie is not None else None
        return Caller(session.role, "session", client, session) if session is not None else None

    def role_of(self, token: str, client: str) -> Role | None:
        """Whose token it is. Refused where the client has shown too many wrong ones, and this is one more."""
        tokens = self._rules.tokens
        role = tokens.role_of(token) if tokens is not None else None
        if role is None and (wait_s := self.failures.take(client)):
            raise Refused(
                429, "TooManyRequests", "too many wrong tokens", headers={"retry-after": str(wait_s)}
            )
        return role


CLOSE = {"connection": "close"}


def _check_origin(scope: Scope, found: dict[str, str], *, changes: bool) -> None:
    """A browser says which page sends a request; who is no browser says nothing."""
    if found.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise Refused(403, "CrossSite", "a page of another site sent this")
    origin = found.get("origin")
    if origin is not None and origin.lower() != f"{scope['scheme']}://{found.get('host', '')}".lower():
        raise Refused(403, "CrossSite", "a page of another origin sent this")


def _bounded(receive: Receive) -> Receive:
    """A body that comes whole, in time, and not too large."""
    got, whole = 0, False

    async def limited() -> Message:
        nonlocal got, whole
        if whole:
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), BODY_S)
        except TimeoutError:
            raise Refused(408, "TooSlow", "the body did not come in time", headers=CLOSE) from None
        if message["type"] == "http.request":
            got += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if got > MAX_BODY_BYTES:
                raise Refused(413, "TooLarge", f"a body of at most {MAX_BODY_BYTES:,} bytes", headers=CLOSE)
        return message

    return limited
