"""One lock file keeps two vmon commands from doing the same work, or from talking to one guest at once.

flock: the kernel drops it when its holder ends, however it ends. The file itself stays, empty.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vmon.core.errors import LabError
from vmon.lab.progress import Progress

POLL_S = 0.01


@contextmanager
def file_lock(path: Path, waiting: str, timeout_s: float | None = None) -> Iterator[None]:
    """Hold the lock; `waiting` is shown while another does. LabError after `timeout_s` (None: never)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    try:
        with Progress(waiting) as progress:
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if deadline is not None and time.monotonic() > deadline:
                        raise LabError(f"{waiting}: not free within {timeout_s:g} s") from None
                    progress.tick()
                    time.sleep(POLL_S)
        yield
    finally:
        os.close(fd)
