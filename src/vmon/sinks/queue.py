"""Between who reads a guest's events and a place that may be slow: a bounded queue and a thread that empties it.

Putting a record never waits: what does not fit is dropped, counted, and told in the output itself once there is room.
A batch that did not arrive is tried again after a pause that doubles each time, by chance a bit shorter or longer, so
that many monitors do not come back at once. A record may arrive twice where an answer was lost; its id is the same.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import deque
from collections.abc import Callable

from vmon.core.ecs import Origin
from vmon.core.records.output import OutputRecord
from vmon.core.records.probe import NoticeRecord
from vmon.core.text import printable
from vmon.core.told import Told
from vmon.export.syslog import Encode
from vmon.sinks.writer import Refused, Undelivered, Writer

MAX_RECORDS = 100_000
"""Some 100 MB of usual records."""
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 30.0
CLOSE_S = 5.0
"""So long a closing queue goes on trying."""
IDLE_S = 0.5


class Queue:
    """One output: put records in, and they go to its writer, in their order."""

    def __init__(
        self,
        name: str,
        form: str,
        encode: Encode,
        writer: Writer,
        *,
        say: Callable[[str], None] = lambda _: None,
        max_records: int = MAX_RECORDS,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Starts a thread; `close` ends it. `say` hears when the writer fails, and when it works again."""
        self.name = name
        self.format = form
        self._encode = encode
        self._writer = writer
        self._say = say
        self._failing = False
        self._max = max_records
        self._chance = chance
        self._waiting: deque[tuple[Told, Origin]] = deque()
        self._awake = threading.Event()
        self._closing = threading.Event()
        self._deadline = float("inf")
        self._lock = threading.Lock()
        self._taken = self._overflowed = self._untold = 0
        self._delivered = self._retried = self._dropped = 0
        self._last_error = ""
        self._thread = threading.Thread(target=self._run, name=f"vmon output {name}", daemon=True)
        self._thread.start()

    def put(self, record: Told, origin: Origin) -> None:
        """Take one record; never waits for the other end. Less than a microsecond, from any thread."""
        with self._lock:
            self._taken += 1
            if len(self._waiting) >= self._max:
                self._overflowed += 1
                self._untold += 1
                return
            if self._untold:
                said = f"{self._untold} records are missing here: this output was too slow for them"
                self._untold = 0
                self._taken += 1
                self._waiting.append((NoticeRecord(event="vmon.dropped", said=said), origin))
            self._waiting.append((record, origin))
        if not self._awake.is_set():
            self._awake.set()

    @property
    def note(self) -> str:
        """What the writer says of itself at the end; empty for nothing."""
        return self._writer.note

    def counts(self) -> OutputRecord:
        """How it fares."""
        dropped = self._dropped + self._overflowed
        return OutputRecord(
            name=self.name,
            format=self.format,
            taken=self._taken,
            delivered=self._delivered,
            retried=self._retried,
            dropped=dropped,
            waiting=max(0, self._taken - self._delivered - dropped),
            last_error=self._last_error,
        )

    def close(self, timeout_s: float = CLOSE_S) -> OutputRecord:
        """Deliver what waits, for so long; the rest is dropped. The totals."""
        self._deadline = time.monotonic() + timeout_s
        self._closing.set()
        self._awake.set()
        self._thread.join(timeout_s + CLOSE_S)
        found = self.counts()
        if found.waiting:
            self._dropped += found.waiting
            found = self.counts()
        return found

    def _run(self) -> None:
        try:
            while True:
                batch = self._next()
                if batch:
                    self._deliver(batch)
                elif self._closing.is_set():
                    return
        finally:
            self._writer.close()

    def _next(self) -> list[bytes]:
        """The next batch, encoded; empty when the queue is closed and empty."""
        while not self._waiting:
            if self._closing.is_set():
                return []
            self._awake.clear()
            if not self._waiting and not self._awake.wait(IDLE_S):
                with contextlib.suppress(OSError):
                    self._writer.idle()
        end = time.monotonic() + self._writer.linger_s
        while len(self._waiting) < self._writer.batch_records and (left := end - time.monotonic()) > 0:
            if self._closing.wait(min(left, 0.05)):
                break
        batch: list[bytes] = []
        while self._waiting and len(batch) < self._writer.batch_records:
            try:
                batch.append(self._encode(*self._waiting.popleft()))
            except Exception as error:  # what one record does must not end the output of all others
                self._dropped += 1
                self._last_error = printable(f"a record could not be written as {self.format}: {error!r}")
        return batch

    def _deliver(self, batch: list[bytes]) -> None:
        pause = FIRST_PAUSE_S
        while batch:
            if time.monotonic() >= self._deadline:
                self._dropped += len(batch)
                return
            try:
                self._writer.write(batch)
                self._delivered += len(batch)
                self._now(failing=False)
                return
            except Refused as error:
                given_up = len(batch) - error.delivered if error.dropped is None else error.dropped
                self._delivered += error.delivered
                self._dropped += given_up
                self._last_error = printable(str(error))
                batch = batch[error.delivered + given_up :]
            except Exception as error:  # nothing may end the thread: all is tried again
                done, wait_s = (
                    (error.delivered, error.wait_s) if isinstance(error, Undelivered) else (0, None)
                )
                self._delivered += done
                self._last_error = printable(str(error) or repr(error))
                self._retried += 1
                self._now(failing=True)
                if done:
                    batch, pause = batch[done:], FIRST_PAUSE_S
                self._rest(wait_s if wait_s is not None else pause * (0.5 + self._chance()))
                pause = min(pause * 2, LONGEST_PAUSE_S)

    def _now(self, *, failing: bool) -> None:
        if failing is not self._failing:
            self._failing = failing
            self._say(f"{self._last_error}: trying again" if failing else f"{self.name}: works again")

    def _rest(self, seconds: float) -> None:
        """Wait; when the queue closes no longer than that allows."""
        end = time.monotonic() + seconds
        while (left := min(end, self._deadline) - time.monotonic()) > 0:
            if self._closing.is_set():
                time.sleep(min(left, 0.2))
            else:
                self._closing.wait(left)
