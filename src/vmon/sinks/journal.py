"""An append-only file of records that shows whether anybody changed it: writes the chain of vmon.export.chain.

Writes a file of the host, readable by its owner alone, by one vmon at a time (a lock). It is continued where it ended;
a last line that a crash cut off stays, and is told in the next. On the disk it is after at most two seconds, with
`sync="always"` before the next batch.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from vmon.core.errors import JournalBroken, OutputError
from vmon.export import product
from vmon.export.chain import FORMAT, START, digest, make_line, read_line
from vmon.export.document import json_bytes
from vmon.sinks.writer import Undelivered

Sync = Literal["always", "second", "never"]
SYNC_S = 1.0
LAST_BYTES = 1 << 16
"""The last line is looked for in so much of the end, then in more."""


class JournalWriter:
    """Adds records to one journal."""

    batch_records = 1000
    linger_s = 0.02
    note = ""
    """After it was closed: how many lines it has, and the hash of the last."""

    def __init__(self, path: Path, *, key: bytes | None = None, sync: Sync = "second") -> None:
        """OutputError where it can't be opened or another vmon has it, JournalBroken where its end makes no sense."""
        self._path = path
        self._key = key
        self._sync = sync
        self._synced_at = time.monotonic()
        self._in_order = True
        self._unsynced = False
        self.seq = 0
        self.head = START
        """Hash of the last line."""
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OutputError(f"{path} can't be opened: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._begin()
        except BlockingIOError as error:
            os.close(self._fd)
            raise OutputError(f"{path}: another vmon writes this journal") from error
        except OSError as error:
            os.close(self._fd)
            raise OutputError(f"{path}: {error.strerror}") from error
        except JournalBroken:
            os.close(self._fd)
            raise

    def _begin(self) -> None:
        last, torn, ended = self._end()
        about: dict[str, object] = {"version": product.version(), "keyed": self._key is not None}
        if last is not None:
            line = read_line(last, self._key)
            if line is None:
                raise JournalBroken(
                    f"{self._path}: its last line is not as it was written, or of another key: nothing is added",
                    hint=f"vmon journal verify {self._path}",
                )
            self.seq, self.head = line.seq, line.hash
        about = {"journal": "continued" if last is not None else "begun", "format": FORMAT, **about}
        if torn:
            about["torn"] = digest(torn, None)
            about["torn_bytes"] = len(torn)
        # In one piece, so that a second crash can't leave the line end alone.
        self._add([json_bytes(about)], before=b"" if ended else b"\n")
        os.fsync(self._fd)

    def _end(self) -> tuple[bytes | None, bytes, bool]:
        """The last whole line of the chain, what a crash left after it, and whether there is a line end."""
        size = os.fstat(self._fd).st_size
        reach = LAST_BYTES
        while True:
            start = max(0, size - reach)
            data = os.pread(self._fd, size - start, start)
            lines = data.split(b"\n")
            torn = lines.pop()
            if start == 0 or len(lines) > 1:
                if torn and read_line(torn, self._key):
                    return torn, b"", False
                return (lines[-1] if lines else None), torn, not torn
            reach *= 8

    def _add(self, entries: Sequence[bytes], before: bytes = b"") -> None:
        """All of them, or the file is as it was."""
        now = time.time_ns()
        seq, head, made = self.seq, self.head, []
        for entry in entries:
            seq += 1
            line, head = make_line(seq, now, head, entry, self._key)
            made.append(line)
        data = before + b"\n".join((*made, b""))
        size = os.fstat(self._fd).st_size
        written = 0
        self._in_order = False
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:] if written else data)
        except OSError:
            os.ftruncate(self._fd, size)
            self._in_order = True
            raise
        self._in_order = True
        self._unsynced = True
        self.seq, self.head = seq, head

    def write(self, batch: Sequence[bytes]) -> None:
        """Add a line for each record."""
        try:
            if not self._in_order:
                self._begin()
            self._add(batch)
            self._synchronize(now=self._sync == "always")
        except (OSError, JournalBroken) as error:
            said = error.strerror if isinstance(error, OSError) else str(error)
            raise Undelivered(f"{self._path}: {said}") from error

    def idle(self) -> None:
        """Nothing waits: what was written goes to the disk."""
        self._synchronize()

    def _synchronize(self, *, now: bool = False) -> None:
        due = now or (self._sync == "second" and time.monotonic() - self._synced_at >= SYNC_S)
        if due and self._unsynced:
            os.fsync(self._fd)
            self._unsynced = False
            self._synced_at = time.monotonic()

    def close(self) -> None:
        """Say that it ends here, and let go of it."""
        if self._fd < 0:
            return
        try:
            if self._in_order:
                self._add([json_bytes({"journal": "closed", "lines": self.seq})])
            os.fsync(self._fd)
        except OSError:
            pass  # it reads as one that was not closed, which is the truth
        finally:
            os.close(self._fd)
            self._fd = -1
            self.note = f"{self.seq} lines, head {self.head}"
