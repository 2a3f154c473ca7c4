"""A person waits two seconds in silence at most: then a line on stderr says what takes so long.

Writes to stderr only. On a terminal the line is kept up to date in place; in a log it comes once and then
every ten seconds.
"""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import Self

QUIET_S = 2.0
LOG_EVERY_S = 10.0
TERMINAL_EVERY_S = 0.25


class Progress:
    """What is being done, shown only when it takes long."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._start = time.monotonic()
        self._next = self._start + QUIET_S
        self._terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def tick(self, detail: str = "") -> None:
        """Say that it still goes on; `detail` is a word on how far. Cheap: call it as often as you like."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (TERMINAL_EVERY_S if self._terminal else LOG_EVERY_S)
        self._shown = True
        text = f"lab: {self._what}{f' ({detail})' if detail else ''}, {now - self._start:.0f} s"
        sys.stderr.write(f"\r\x1b[K{text}" if self._terminal else f"{text}\n")
        sys.stderr.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._shown:
            return
        if self._terminal:
            sys.stderr.write("\r\x1b[K")
        if kind is None:
            sys.stderr.write(f"lab: {self._what}: done in {time.monotonic() - self._start:.1f} s\n")
        sys.stderr.flush()
