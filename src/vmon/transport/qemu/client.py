"""QEMU may send an event to a client that it has not greeted yet: such an event is skipped.

A monitor takes part in events from the moment its socket is accepted until its greeting begins the negotiation, and
QEMU's threads do not agree on that moment (monitor_qapi_event_emit in monitor/monitor.c). Who connects to a QEMU that
starts, or is told to go on, can read RESUME first, or between the greeting and its first answer. qemu.qmp takes
whatever comes there for the greeting, and gives up.
"""

from __future__ import annotations

from qemu.qmp import QMPClient
from qemu.qmp.message import Message
from qemu.qmp.protocol import Runstate


class Client(QMPClient):
    """QMPClient that finds the greeting and the answer to its negotiation behind events."""

    async def _do_recv(self) -> Message:
        while True:
            message = await super()._do_recv()
            if self.runstate is Runstate.RUNNING or "event" not in message:
                return message
