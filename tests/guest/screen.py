"""A command on a terminal of its own, and what stands on its screen: what a person at an ssh session would see."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import pyte

DEADLINE_S = 120.0


class Terminal:
    """Runs `vmon WORDS` on a pseudo terminal; ended with SIGKILL if it does not end by itself."""

    def __init__(
        self, *words: str, columns: int = 80, rows: int = 24, environment: Mapping[str, str] | None = None
    ) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        """Everything that was written."""
        code = "import sys; from vmon.cli import main; sys.argv[0] = 'vmon'; main()"
        # COLUMNS and LINES, which pytest's workers have, would be the size whatever the terminal says.
        left_out = ("NO_COLOR", "COLORTERM", "COLUMNS", "LINES")
        given = {name: value for name, value in os.environ.items() if name not in left_out}
        given |= {"TERM": "xterm", **(environment or {})}
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, [sys.executable, "-c", code, *words], given)
        self.resize(columns, rows)
        self.status: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._fd)

    def resize(self, columns: int, rows: int) -> None:
        self._screen.resize(rows, columns)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGWINCH)

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._screen.display]

    def _take(self, seconds: float) -> bool:
        """What is written within so long; False at the end."""
        if not select.select([self._fd], [], [], seconds)[0]:
            return True
        try:
            # In small pieces: what was shown and is gone again is seen by a slow reader too.
            data = os.read(self._fd, 1 << 10)
        except OSError:
            data = b""
        self.raw += data
        self._stream.feed(data)
        return bool(data)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Until a line of the screen fits."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            for line in self.lines():
                if match := re.search(pattern, line):
                    return match
            alive = self._take(0.2)
            assert alive and time.monotonic() < deadline, (pattern, self.lines())

    def wait_without(self, pattern: str) -> None:
        """Until no line of the screen fits."""
        deadline = time.monotonic() + DEADLINE_S
        while any(re.search(pattern, line) for line in self.lines()):
            alive = self._take(0.2)
            assert alive and time.monotonic() < deadline, (pattern, self.lines())

    def end(self) -> int:
        """Its exit code."""
        deadline = time.monotonic() + DEADLINE_S
        while self._take(0.2):
            assert time.monotonic() < deadline, self.lines()
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status
