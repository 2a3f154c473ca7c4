"""When a guest stood still: QEMU's own STOP and RESUME events with its own clock, heard over a QMP socket."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PATIENCE_S = 120.0


class PauseLog:
    """Listens on a socket of its own for as long as it is open."""

    def __init__(self, path: Path) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(PATIENCE_S)
        self._sock.connect(str(path))
        self._lines = self._sock.makefile("rwb", buffering=0)
        while "QMP" not in self._read():
            pass  # an event may come before the greeting
        self._answers: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self.events: list[tuple[float, str]] = []
        """(seconds since the epoch, STOP or RESUME)."""
        self._sock.settimeout(None)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        self._ask("qmp_capabilities")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE_S)
        self._sock.close()

    def _read(self) -> dict[str, Any]:
        line = self._lines.readline()
        found: dict[str, Any] = json.loads(line) if line else {}
        return found

    def _listen(self) -> None:
        while message := self._read():
            with self._changed:
                if message.get("event") in ("STOP", "RESUME"):
                    stamp = message["timestamp"]
                    self.events.append((stamp["seconds"] + stamp["microseconds"] / 1e6, message["event"]))
                elif "event" not in message:
                    self._answers.append(message)
                self._changed.notify_all()

    def _ask(self, command: str) -> Any:
        with self._changed:
            self._answers.clear()
            self._lines.write(json.dumps({"execute": command}).encode() + b"\n")
            assert self._changed.wait_for(lambda: self._answers, PATIENCE_S), command
            return self._answers[0]["return"]

    def status(self) -> str:
        """The run state; every event before is known then."""
        return str(self._ask("query-status")["status"])

    def wait_until_running(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self.status() != "running":
            assert time.monotonic() < deadline, "the guest stands still"
            time.sleep(0.001)

    def seconds_after(self, killed: float) -> float | None:
        """How long the pause went on in which somebody died at this time; None where there was none."""
        before = [name for at, name in self.events if at <= killed]
        if not before or before[-1] != "STOP":
            return None
        return next(at for at, name in self.events if at > killed and name == "RESUME") - killed
