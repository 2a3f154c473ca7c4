"""A browser's session: a cookie in place of the token, and a word that only pages of this server can read.

Kept in memory, by the hash of the cookie: who reads this memory later finds no cookie. A session ends with the server,
after twelve hours, or when it is ended.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass

from vmon.api.tokens import Role

COOKIE = "vmon_session"
LONGEST_S = 12 * 3600.0
MAX_SESSIONS = 256
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who has shown a token."""

    role: Role
    csrf: str
    """To be sent with every request that changes something."""
    ends_at: float


class Sessions:
    """Those that are open."""

    def __init__(self) -> None:
        self._open: dict[bytes, Session] = {}

    def begin(self, role: Role) -> tuple[str, Session]:
        """A new one, with its cookie; the oldest goes when there are too many."""
        now = time.monotonic()
        self._open = {key: session for key, session in self._open.items() if session.ends_at > now}
        while len(self._open) >= MAX_SESSIONS:
            del self._open[next(iter(self._open))]
        cookie = secrets.token_urlsafe(SECRET_BYTES)
        session = Session(role, secrets.token_urlsafe(SECRET_BYTES), now + LONGEST_S)
        self._open[_key(cookie)] = session
        return cookie, session

    def find(self, cookie: str) -> Session | None:
        """The session of a cookie, while it lasts."""
        session = self._open.get(_key(cookie))
        return session if session is not None and session.ends_at > time.monotonic() else None

    def end(self, cookie: str) -> None:
        """From now on the cookie opens nothing."""
        self._open.pop(_key(cookie), None)


def _key(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "surrogateescape")).digest()
