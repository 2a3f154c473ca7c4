"""The hub is the one reader of a machine's ring: one thread takes events, hands asks to who answers, gives all to many.

A ring has one reader (vmon.monitor.stream), so whoever in this program wants events of a machine shares this one:

    hub = vm.hub
    with hub.subscribe(["process.exec"]) as events: ...     # a bounded queue each, loss counted
    answerer = hub.ask_by(decide)                           # in a thread of its own; the reader never waits for it
    hub.hear(print)                                         # what happens to the watching: reboots, tampering

The thread starts with the first of these and ends with the last. It runs on vmon.monitor.keeping, so a reboot ends the
subscriptions with GuestRebooted or, with `hub.persist`, is lived through. Everything here may be called by any thread.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vmon.core.errors import TargetGone, UsageError, VmonError
from vmon.core.events import Answer, Event, EventCounts
from vmon.core.records.probe import NoticeRecord
from vmon.core.rules import Rule, RuleRecord
from vmon.core.text import printable
from vmon.monitor.answering import Answerer, Handler
from vmon.monitor.subscription import QUEUE_EVENTS, Only, Share, Subscription, ended_by

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from vmon.monitor.keeping import Keeper
    from vmon.monitor.machine import VirtualMachine
    from vmon.monitor.stream import EventStream

LOG = logging.getLogger("vmon")


class Hub:
    """Events of one machine for any number of readers, and answers by any number of functions."""

    def __init__(
        self,
        vm: VirtualMachine,
        make_stream: Callable[[], EventStream],
        require_seen: Callable[[Sequence[str]], None],
    ) -> None:
        """`make_stream` puts the probe in where it is not there; `require_seen` refuses kinds that can't be seen."""
        self._vm = vm
        self._make_stream = make_stream
        self._require_seen = require_seen
        self.persist = False
        """Whether a guest that rebooted gets its probe and its rules again; seen when the thread starts."""
        self.repair = False
        """Whether a probe that was tampered with is put right; seen when the thread starts."""
        self.error: BaseException | None = None
        """What ended the watching; None while it goes on, and where it was ended on purpose."""
        self._lock = threading.RLock()
        self._keeper: Keeper | None = None
        self._thread: threading.Thread | None = None
        self._shares: tuple[Share, ...] = ()
        self._answerers: tuple[Answerer, ...] = ()
        self._listeners: tuple[Callable[[NoticeRecord], None], ...] = ()
        self._notices: deque[NoticeRecord] = deque()
        self._rules: dict[int, Rule] = {}

    # What others call.

    def subscribe(
        self,
        events: Sequence[str] = (),
        only: Only | None = None,
        size: int = QUEUE_EVENTS,
        timeout_s: float | None = None,
    ) -> Subscription:
        """Events of these kinds (of all where none is named) from now on, `size` of them kept at most.

        `only` is shown every event, of other kinds too, and says which are given (vmon.monitor.only). UsageError for a
        name that is none, NotSupported for one that can't be seen here, TargetBusy where another program reads them.
        """
        from vmon.monitor.stream import NAMES  # noqa: PLC0415 - reading needs no probe

        share = Share(events or NAMES, only, size)
        with self._lock:
            self._settle()
            self._require_seen(events)
            self._shares += (share,)
            self._begin()
        return Subscription(share, self._drop, timeout_s)

    def ask_by(
        self,
        handler: Handler,
        put_in: Callable[[], Sequence[RuleRecord]] | None = None,
        *,
        workers: int = 1,
        loop: AbstractEventLoop | None = None,
    ) -> Answerer:
        """From now on `handler` answers: "allow", "deny" or "kill", while the process of the guest waits.

        It answers for the rules that `put_in` puts into force, or, without it, for all that nobody else answers for.
        It runs in `workers` threads of its own; an async one in `loop`, or a loop of its own. `close` of what is
        returned, or `stop_asking`, ends it; the rules stay.
        """
        answerer = Answerer(handler, self._said, self.rule, workers, loop)
        try:
            with self._lock:
                self._settle()
                self._answerers += (answerer,)
                self._begin()
                if put_in is not None:
                    # An ask that comes now waits for the lock: nobody knows its rule yet.
                    records = put_in()
                    self._rules.update((record.number, record.rule) for record in records)
                    answerer.rules = [record.number for record in records]
        except BaseException:
            self.stop_asking(answerer)
            raise
        return answerer

    def stop_asking(self, answerer: Answerer) -> None:
        """Its asks are answered by who answers for the rest, or by the rules' fallbacks."""
        with self._lock:
            self._answerers = tuple(other for other in self._answerers if other is not answerer)
            self._follow_wishes()
        answerer.close()
        self._end_if_alone()

    def hear(self, listener: Callable[[NoticeRecord], None]) -> Callable[[], None]:
        """Tell of what happens to the watching itself, in the hub's thread; without a listener it goes to the log.

        What is returned ends it.
        """
        with self._lock:
            self._listeners += (listener,)

        def stop() -> None:
            with self._lock:
                self._listeners = tuple(other for other in self._listeners if other is not listener)

        return stop

    def counts(self) -> list[EventCounts]:
        """Totals of each kind since the guest booted: seen, lost by the ring, denied, asked, unanswered."""
        stream = self._stream()
        if stream is None:
            raise UsageError("nobody watches this machine", hint="subscribe first")
        return stream.counts()

    @property
    def running(self) -> bool:
        """Whether events are taken."""
        return self._thread is not None

    def close(self) -> None:
        """End all subscriptions and all answering; rules stay in force."""
        with self._lock:
            shares, self._shares = self._shares, ()
            answerers, self._answerers = self._answerers, ()
        for answerer in answerers:
            answerer.close()
        for share in shares:
            share.end()
        self._end_if_alone()

    def rule(self, number: int) -> Rule | None:
        """A rule in force by its number; None where there is none any more."""
        if number not in self._rules:
            with contextlib.suppress(VmonError):
                self._rules = {record.number: record.rule for record in self._vm.rules()}
        return self._rules.get(number)

    # The thread's life.

    def _settle(self) -> None:
        """Wait for a thread that ends, so that a new one can begin."""
        while (thread := self._thread) is not None and self._keeper is not None and self._keeper.ending:
            if thread is threading.current_thread():
                return
            self._lock.release()
            try:
                thread.join()
            finally:
                self._lock.acquire()

    def _begin(self) -> None:
        if self._keeper is not None:
            self._follow_wishes()
            return
        from vmon.monitor.keeping import Keeper  # noqa: PLC0415

        self.error = None
        try:
            with self._vm.acting:
                self._keeper = Keeper(
                    self._vm, self._new_stream, self._notice, persist=self.persist, repair=self.repair
                )
        except BaseException:
            self._shares = self._answerers = ()
            raise
        self._thread = threading.Thread(
            target=self._run, args=(self._keeper,), name="vmon events", daemon=True
        )
        self._thread.start()

    def _new_stream(self) -> EventStream:
        stream = self._make_stream()
        stream.record(self._wishes())
        stream.answer_later(on=bool(self._answerers))
        return stream

    def _wishes(self) -> list[str]:
        return sorted({name for share in self._shares for name in share.events})

    def _follow_wishes(self) -> None:
        """Record what somebody wants, and no more."""
        stream = self._stream()
        if stream is not None and stream.running:
            # Of a guest that reboots just now the next stream is made by what is wanted then.
            with contextlib.suppress(VmonError), self._vm.acting:
                stream.record(self._wishes())
                stream.answer_later(on=bool(self._answerers))

    def _stream(self) -> EventStream | None:
        return None if self._keeper is None else self._keeper.stream

    def _drop(self, share: Share) -> None:
        with self._lock:
            if share not in self._shares:
                return
            self._shares = tuple(other for other in self._shares if other is not share)
            self._follow_wishes()
        self._end_if_alone()

    def _end_if_alone(self) -> None:
        with self._lock:
            thread, keeper = self._thread, self._keeper
            if self._shares or self._answerers or keeper is None:
                return
            keeper.ending = True
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self, keeper: Keeper) -> None:
        error: BaseException | None = None
        try:
            for batch in keeper.batches():
                self._tell()
                if batch:
                    self._give(batch)
                for share in self._shares:
                    if share.closed:
                        self._drop(share)
            if not keeper.ending:
                error = TargetGone("the guest is gone")
        except BaseException as found:
            error = found
        finally:
            self._finish(keeper, error)

    def _finish(self, keeper: Keeper, error: BaseException | None) -> None:
        with contextlib.suppress(VmonError, OSError, ValueError), self._vm.acting:
            keeper.stop()
        self._tell()
        with self._lock:
            self._keeper = self._thread = None
            shares, answerers = self._shares, self._answerers
            if error is not None:
                self.error = ended_by(error)
                self._shares, self._answerers = (), ()
        if error is None:
            return
        for share in shares:
            share.end(self.error)
        for answerer in answerers:
            answerer.close()
        if not shares:
            LOG.error("%s", printable(str(self.error)))

    def wait(self, timeout_s: float | None = None) -> None:
        """Until the watching ends, or for so long. Raises what ended it."""
        if (thread := self._thread) is not None:
            thread.join(timeout_s)
        if self.error is not None:
            raise self.error

    # Each batch.

    def _give(self, batch: list[Event]) -> None:
        told = [event for event in batch if not (event.ask and event.verdict == "asked" and self._ask(event))]
        for share in self._shares:
            share.put(told)

    def _ask(self, event: Event) -> bool:
        """Whether somebody decides; the event is told when that is done."""
        answerer = self._answerer(event.rule)
        if answerer is None:
            with self._lock:
                answerer = self._answerer(event.rule)
        if answerer is None:
            answerer = next((other for other in self._answerers if not other.rules), None)
        if answerer is not None:
            answerer.ask(event)
            return True
        rule = self.rule(event.rule)
        if rule is None or not self._answerers:
            return False
        # Somebody is here, so the process waits; but nobody is for this rule.
        self._said(event, rule.fallback, True)
        return True

    def _answerer(self, rule: int) -> Answerer | None:
        return next((answerer for answerer in self._answerers if rule in answerer.rules), None)

    def _said(self, event: Event, answer: Answer, in_time: bool) -> None:
        stream = self._stream()
        if stream is None:
            return
        # A guest that rebooted, or was let go of, waits for no answer.
        with contextlib.suppress(VmonError, OSError, ValueError):
            event = stream.say(event, answer)
        for share in self._shares:
            share.put([event])

    def _notice(self, notice: NoticeRecord) -> None:
        if notice.event in ("vmon.installed", "vmon.repaired"):
            self._number_again()
        self._notices.append(notice)
        if notice.event in ("vmon.rebooted", "vmon.installed"):
            self._tell()  # the others come while `acting` is held, and a listener may call what it likes

    def _tell(self) -> None:
        while self._notices:
            notice = self._notices.popleft()
            for listener in self._listeners:
                try:
                    listener(notice)
                except Exception:
                    LOG.exception("a listener failed at %s", notice.event)
            if not self._listeners:
                LOG.warning("%s: %s", notice.event.removeprefix("vmon."), printable(notice.said))

    def _number_again(self) -> None:
        """Rules that were put in again have other numbers."""
        before, after = self._rules, {record.number: record.rule for record in self._vm.rules()}
        self._rules = after
        for answerer in self._answerers:
            own = [before[number] for number in answerer.rules if number in before]
            if answerer.rules:
                answerer.rules = [number for number, rule in after.items() if rule in own] or [0]
