"""A file that records are added to, a line each. One that is moved away is opened anew: logrotate needs to tell nobody.

Writes a file of the host, readable by its owner alone. Lines are whole: what was half written when the disk was full is
cut off again, and tried later.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

from vmon.core.errors import OutputError
from vmon.sinks.writer import Undelivered

LOOK_S = 1.0
"""So often it is asked whether the file is still there."""


class FileWriter:
    """Adds lines to one file."""

    batch_records = 2000
    linger_s = 0.02
    note = ""

    def __init__(self, path: Path) -> None:
        """OutputError where it can't be opened."""
        self._path = path
        self._fd = -1
        self._look_at = 0.0
        try:
            self._open()
        except OSError as error:
            raise OutputError(f"{path} can't be opened: {error.strerror}") from error

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._look_at = time.monotonic() + LOOK_S

    def write(self, batch: Sequence[bytes]) -> None:
        """Add a line for each record."""
        try:
            self._follow()
        except OSError as error:
            raise Undelivered(f"{self._path}: {error.strerror}") from error
        data = b"\n".join((*batch, b""))
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:] if written else data)
        except OSError as error:
            whole = data.count(b"\n", 0, written)
            self._cut(written - (data.rfind(b"\n", 0, written) + 1))
            raise Undelivered(f"{self._path}: {error.strerror}", whole) from error

    def _cut(self, half_bytes: int) -> None:
        with contextlib.suppress(OSError):
            if half_bytes:
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - half_bytes)

    def _follow(self) -> None:
        """Open the file again when its name leads elsewhere or nowhere."""
        if self._fd >= 0 and time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK_S
        try:
            there = self._path.stat()
            own = os.fstat(self._fd) if self._fd >= 0 else None
            if own is not None and (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino):
                return
        except FileNotFoundError:
            pass
        old = self._fd
        self._open()
        if old >= 0:
            os.close(old)

    def idle(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
