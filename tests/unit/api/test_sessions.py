from __future__ import annotations

import time

import pytest

from vmon.api import sessions
from vmon.api.sessions import Sessions


def test_a_session_is_found_by_its_cookie_until_it_ends() -> None:
    found = Sessions()
    cookie, session = found.begin("viewer")
    assert found.find(cookie) is session
    assert found.find(cookie + "x") is None
    assert cookie not in repr(vars(found))
    found.end(cookie)
    assert found.find(cookie) is None


def test_a_session_is_over_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Sessions()
    cookie, _ = found.begin("operator")
    later = time.monotonic() + sessions.LONGEST_S + 1
    monkeypatch.setattr(sessions.time, "monotonic", lambda: later)
    assert found.find(cookie) is None


def test_the_oldest_goes_when_there_are_too_many() -> None:
    found = Sessions()
    first, _ = found.begin("viewer")
    others = [found.begin("viewer")[0] for _ in range(sessions.MAX_SESSIONS)]
    assert found.find(first) is None
    assert all(found.find(cookie) for cookie in others)
