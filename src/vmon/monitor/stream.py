"""Events of a guest as they happen, with what the host knows of their processes: program and container.

Reads the ring through vmon.probe, and writes how far it has come. A program is known from what was seen to start or was
there before; what ended before it was seen has none. The guest can write what it likes into the ring.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from vmon.control.asks import Asker, Decide
from vmon.core.errors import NotSupported, TargetBusy, UsageError
from vmon.core.events import Answer, Event, EventCounts
from vmon.linux.kernel import Kernel
from vmon.linux.snapshot import Snapshot
from vmon.monitor.known import Known
from vmon.probe.hooks import EVENTS
from vmon.probe.install import Probe
from vmon.probe.records import Decoder

COUNTERS = ("seen", "lost", "denied", "asked", "unanswered")
NAMES = tuple(event.name for event in EVENTS)
ALWAYS = ("process.fork", "process.exec", "process.exit")
"""Recorded whatever was asked for: programs are known by them."""
IDLE_S = 0.002
ASKER_IDLE_S = 0.0002
HOT_S = 0.02
WARM_S = 1.0
PID_BITS = 22


class EventStream:
    """Events of one probe as they happen."""

    def __init__(
        self,
        probe: Probe,
        events: Sequence[str],
        snapshot: Callable[[], Snapshot],
        decide: Decide | None = None,
        only: Callable[[Event], bool] = lambda _: True,
    ) -> None:
        """`snapshot` shows the processes that are there; `decide` answers what is asked.

        `only` is shown every event, also of kinds that were not asked for, and says which are given.
        """
        require_seen(probe, events)
        self._probe = probe
        self._wanted = self._recorded = frozenset(events or NAMES)
        self._known = Known(snapshot)
        self._decoder = Decoder(probe.abi, self._known.program, self._known.container)
        self._only = only
        self._ring = probe.ring()
        self._decide = decide
        self._later = False
        self._asker: Asker | None = None
        self._hot_until = self._warm_until = 0.0
        self._words: dict[str, int] = {}
        self.took: Callable[[float], None] | None = None
        """Hears how many seconds each look into the ring took that found something."""

    def start(self) -> None:
        """From now on. Starts, execs and ends are recorded whatever was asked for: programs are known by them."""
        kinds = self._kinds()
        self._claim()
        self._ring.take()
        self._probe.put("log_kinds", kinds)
        self._probe.switch(on=True)
        self._words = {"enabled": 1, "log_kinds": kinds, "reader": reader_word(os.getpid())}
        self._meet_asks()

    def record(self, events: Iterable[str]) -> None:
        """Record these kinds from now on, and no others; what is given is what rules record too."""
        self._recorded = frozenset(events)
        if self.running:
            self._words["log_kinds"] = kinds = self._kinds()
            self._probe.put("log_kinds", kinds)
            self._probe.settle()

    def answer_later(self, *, on: bool) -> None:
        """Whether asks are handed on as they come, for `say` to answer; else the rules' fallbacks decide at once."""
        self._later = on
        if self.running:
            self._meet_asks()

    def decide_by(self, decide: Decide | None) -> None:
        """Who answers from now on, in the thread that takes the events; None: the rules' fallbacks decide."""
        self._decide = decide
        if self._asker is not None:
            self._asker.close()
            self._asker = None
        if self.running:
            self._meet_asks()

    def say(self, event: Event, answer: Answer) -> Event:
        """Answer an event that waits, from any thread; the event with what became of it. UsageError for no answer."""
        asker = self._asker
        return event if asker is None else asker.say(event, answer)

    def _meet_asks(self) -> None:
        wanted = self._decide is not None or self._later
        if wanted and self._asker is None:
            self._asker = Asker(self._probe, self._decide)
        elif not wanted and self._asker is not None:
            self._asker.close()
            self._asker = None

    def _kinds(self) -> int:
        return sum(1 << self._probe.abi.events[name] for name in self._recorded.union(ALWAYS))

    def _claim(self) -> None:
        """A ring has one reader: two would take each other's events."""
        reader = self._probe.get("config", "reader")
        pid = reader & (1 << PID_BITS) - 1
        if reader and pid != os.getpid() and reader_word(pid) == reader:
            raise TargetBusy(
                f"another vmon (process {pid}) takes the events of this guest",
                hint="end it, or let it write them down for both: vmon watch -o jsonl",
            )
        self._probe.put("reader", reader_word(os.getpid()))

    def stop(self) -> None:
        """Recorded is only what rules ask for; without rules nothing passes through the probe any more."""
        if self._asker is not None:
            self._asker.close()
            self._asker = None
        self._words = {}
        self._probe.put("reader", 0)
        self._probe.put("log_kinds", 0)
        self._probe.switch(on=bool(self._probe.get("config", "table_at")))

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped."""
        return bool(self._words)

    @property
    def kernel(self) -> Kernel:
        """The kernel whose events these are: after a reboot there is another one."""
        return self._probe.kernel

    def require_seen(self, events: Iterable[str]) -> None:
        """UsageError for a name that is no event's, NotSupported for an event that can't be seen in this guest."""
        require_seen(self._probe, events)

    @property
    def known(self) -> Known:
        """What is known of the processes whose events these are."""
        return self._known

    def words(self) -> dict[str, int]:
        """What it has set of the probe's configuration; nothing while it does not run."""
        return dict(self._words)

    def take(self) -> list[Event]:
        """What has happened since the last call."""
        found: list[Event] = []
        if not self._ring.waiting():
            return found
        begin = time.perf_counter()
        for event in self._decoder.iter_events(self._ring.take()):
            self._known.learn(event)
            if event.ask and event.verdict == "asked" and self._asker is not None:
                event = self._asker.answer(event)
                # Who answers in another thread needs the interpreter more than the next look does.
                now = time.monotonic()
                self._hot_until, self._warm_until = (0.0 if self._later else now + HOT_S), now + WARM_S
            if self._only(event) and event.event in self._wanted:
                found.append(event)
        if self.took is not None:
            self.took(time.perf_counter() - begin)
        return found

    def follow(self, timeout_s: float | None = None) -> Iterator[Event]:
        """Events until `timeout_s` has passed; for ever without one.

        Polls 500 times a second while nothing happens; who answers asks polls 5,000 times (the hub only for a second
        after each), and without a rest for a moment after each.
        """
        for found in self.batches(timeout_s):
            yield from found

    def batches(self, timeout_s: float | None = None) -> Iterator[list[Event]]:
        """The same, as many at once as there were."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            found = self.take()
            if found:
                yield found
            if deadline is not None and time.monotonic() >= deadline:
                return
            if not found and time.monotonic() >= self._hot_until:
                time.sleep(ASKER_IDLE_S if self._asks_are_likely() else IDLE_S)

    def _asks_are_likely(self) -> bool:
        """Who answers later may have rules that seldom ask; `decide` is there to be quick."""
        return self._asker is not None and (not self._later or time.monotonic() < self._warm_until)

    def counts(self) -> list[EventCounts]:
        """Totals of each kind since the guest booted: they go on where a probe is put in again."""
        columns = {name: self._probe.counters(name) for name in COUNTERS}
        return [
            EventCounts(event=name, **{column: values[name] for column, values in columns.items()})
            for name in NAMES
        ]


def require_seen(probe: Probe, events: Iterable[str]) -> None:
    """UsageError for a name that is no event's, NotSupported for an event that can't be seen in this guest."""
    seen = probe.events()
    for name in events:
        if name not in NAMES:
            raise UsageError(f"there is no event {name!r}", hint=f"the events are {', '.join(NAMES)}")
        if name not in seen:
            raise NotSupported(f"{name} can't be seen in this guest", hint="`vmon doctor TARGET` tells why")


def reader_word(pid: int) -> int:
    """Names a process of this host for as long as it lives, and no other after it; 0 where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19]) << PID_BITS | pid
