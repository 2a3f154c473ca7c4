"""Events that come before a client is greeted, and before it is answered for the first time."""

from __future__ import annotations

import socket

import pytest

from tests.unit.transport.test_qmp import GREETING, serve
from vmon.core.errors import TargetError
from vmon.transport.qemu import qmp

EVENT = b'{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "RESET", "data": {"guest": false}}\r\n'
DONE = b'{"return": {}}\r\n'
ANSWER = b'{"return": {"status": "running"}, "id": "__qmp#00000"}\r\n'


@pytest.mark.parametrize("answers", [(EVENT + EVENT + GREETING, DONE), (GREETING, EVENT + DONE)])
def test_events_before_the_session_are_skipped(listener: socket.socket, answers: tuple[bytes, ...]) -> None:
    serve(listener, *answers, ANSWER, b"")
    with qmp.QmpConnection(listener.getsockname()) as connection:
        assert connection.execute("query-status") == {"status": "running"}
        assert connection.resets == 0, "it happened before we came"


def test_events_of_the_session_are_counted(listener: socket.socket) -> None:
    serve(listener, GREETING, DONE, EVENT + EVENT + ANSWER, b"")
    with qmp.QmpConnection(listener.getsockname()) as connection:
        connection.execute("query-status")
        assert connection.resets == 2


def test_events_alone_are_no_greeting(listener: socket.socket) -> None:
    serve(listener, EVENT)
    with pytest.raises(TargetError):
        qmp.QmpConnection(listener.getsockname())
