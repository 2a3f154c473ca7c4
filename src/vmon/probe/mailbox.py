"""The mailbox: the host writes a request into the probe's state, the guest's kernel does it at the next safe moment.

Writes one structure of the guest, reads it until the answer is there; the guest is not paused. The guest may never
answer (hung, paused): every wait ends.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from vmon.core.errors import NotSupported, PauseLost, TargetBusy
from vmon.probe.abi import Abi
from vmon.probe.window import Window

WAKE_AFTER_S = (0.002, 0.012, 0.2)
"""First by a key, which costs nothing and which not every machine has."""
POLL_S = 0.0002
ANSWER_S = 3.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the kernel's own function said."""

    result: int
    """0, or a negative errno."""
    value: int
    took_ns: int


class Mailbox:
    """One request at a time. `wake` makes an idle guest take an interrupt; it may do nothing."""

    def __init__(self, abi: Abi, window: Window, wake: Callable[[int], None] = lambda _: None) -> None:
        self._abi = abi
        self._window = window
        self._wake = wake
        self._first = 0
        self._at = abi.sizes["STATE_AT"] + abi.offset("state", "mailbox")

    def _put(self, name: str, value: int) -> None:
        offset, size = self._abi.member("mailbox", name)
        self._window.write(self._at + offset, (value & ((1 << 8 * size) - 1)).to_bytes(size, "little"))

    def _get(self, name: str) -> int:
        offset, size = self._abi.member("mailbox", name)
        return int.from_bytes(self._window.read(self._at + offset, size), "little")

    def ask(self, op: str, timeout_s: float = ANSWER_S, **values: int) -> Answer:
        """Have something done. NotSupported when the guest does not answer in time."""
        begin = time.perf_counter_ns()
        deadline = time.monotonic() + timeout_s
        # What somebody asked who died since is done first: the fields of two requests must not mix.
        self._wait(self._get("request"), begin, deadline)
        for name, value in values.items():
            self._put(name, value)
        self._put("op", self._abi.ops[op])
        request = self._get("done") + 1
        self._put("request", request)
        self._wait(request, begin, deadline)
        result = self._get("result")
        return Answer(
            result - (1 << 64) if result >> 63 else result, self._get("value"), time.perf_counter_ns() - begin
        )

    def _wait(self, request: int, begin: int, deadline: float) -> None:
        # Who needed the second way once needs no first one again.
        due = list(zip(range(self._first, len(WAKE_AFTER_S)), WAKE_AFTER_S, strict=False))
        while self._get("done") != request:
            if time.monotonic() > deadline:
                raise NotSupported(
                    "the guest did not answer in time", hint="is it paused, or hung? `vmon info` tells"
                )
            if due and time.perf_counter_ns() - begin > due[0][1] * 1e9:
                attempt, _ = due.pop(0)
                # Somebody may pause the guest just now, or use its gdbstub: it answers later, then.
                with contextlib.suppress(TargetBusy, PauseLost, NotSupported):
                    self._wake(attempt)
                self._first = max(self._first, min(attempt, 1))
            time.sleep(POLL_S)
