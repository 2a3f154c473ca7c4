"""The host's word on an event before it happens: a call of the guest waits, a function of ours answers.

Writes one word of the probe's state an answer, and a heartbeat ten times a second, by which the probe knows that
somebody is there: when it stops, calls are decided by their rule's fallback at once. The guest can lie about what it
asks; the answer reaches no other call than the one that was asked about.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Self

import msgspec

from vmon.core.errors import UsageError, VmonError
from vmon.core.events import Answer, Event
from vmon.probe.config import MAGIC
from vmon.probe.install import Probe

Decide = Callable[[Event], Answer]

BEAT_S = 0.1


class Asker:
    """Answers asks while it is open. `decide` may take as long as the rule's time-out lets it; `say` answers too."""

    def __init__(self, probe: Probe, decide: Decide | None = None) -> None:
        self._probe = probe
        self._decide = decide
        abi = probe.abi
        self._at = abi.sizes["STATE_AT"] + abi.offset("state", "asks")
        self._row_bytes = abi.size("ask")
        self._word = abi.offset("ask", "answer")
        self._places = abi.member("state", "asks")[1] // self._row_bytes
        self._beat = max(probe.get("config", "beat"), probe.get("state", "dead_beat")) + 1
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._go_on_beating, name="vmon asks", daemon=True)
        probe.put("beat", self._beat)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """From now on, and for calls that still wait, the rules' fallbacks decide."""
        if not self._closed.is_set():
            self._closed.set()
            self._thread.join()
            if self._probe.get("config", "magic") == MAGIC:
                self._probe.put("beat", 0)

    def _go_on_beating(self) -> None:
        # Of a guest that has rebooted, or was let go of, the memory is somebody else's by now.
        with contextlib.suppress(VmonError, OSError, IndexError, ValueError):
            while not self._closed.wait(BEAT_S) and self._probe.get("config", "magic") == MAGIC:
                self._beat += 1
                self._probe.put("beat", self._beat)

    def answer(self, event: Event) -> Event:
        """Decide about an event that waits; the event with what became of it.

        Where `decide` fails its error is raised, and the call waits for its time-out.
        """
        return self.say(event, self._decide(event)) if self._decide is not None else event

    def say(self, event: Event, said: Answer) -> Event:
        """Answer an event that waits, from any thread; the event with what became of it. UsageError for no answer."""
        number = self._probe.abi.answers.get(said.upper()) if isinstance(said, str) else None
        if number is None:
            raise UsageError(
                f"{said!r} is no answer to {event.event}", hint='it is "allow", "deny" or "kill"'
            )
        if 0 < event.ask <= self._places:
            record = event.sequence + 1 & 0xFFFF_FFFF
            at = self._at + (event.ask - 1) * self._row_bytes + self._word
            self._probe.window.write(at, (record << 32 | number).to_bytes(8, "little"))
        became = {"allow": "allowed", "deny": "denied", "kill": "killed"}[said]
        return msgspec.structs.replace(event, verdict=became)
