"""An answerer decides about events that wait: a function, in a thread of its own or in an event loop.

Called by the thread of vmon.monitor.hub, which never waits for it. A function that fails, or says what is no answer, is
reported to the log `vmon`, and what the rule says for lack of an answer is said at once. Text of the guest is made
printable before it is logged.
"""

from __future__ import annotations

import inspect
import logging
import queue
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, get_args

from vmon.core.events import Answer, Event
from vmon.core.rules import Rule
from vmon.core.text import printable

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

LOG = logging.getLogger("vmon")
Handler = Callable[[Event], Answer] | Callable[[Event], Awaitable[Answer]]
Say = Callable[[Event, Answer, bool], None]
"""Is told the event, what was said of it, and whether it came in time."""
ANSWERS = get_args(Answer)


class Answerer:
    """One function that answers; several events at a time where it has several workers, or is async."""

    def __init__(
        self,
        handler: Handler,
        say: Say,
        rule_of: Callable[[int], Rule | None],
        workers: int = 1,
        loop: AbstractEventLoop | None = None,
    ) -> None:
        """`say` takes the answers; an async handler runs in `loop`, or in one of its own where there is none."""
        self.handler = handler
        self._say = say
        self._rule_of = rule_of
        self.rules: list[int] = []
        """Numbers of the rules that it answers for; none: whatever nobody else answers."""
        self.failures = 0
        """How often it failed, or said what is no answer."""
        self.late = 0
        """How often its answer came after the rule's time-out."""
        self._waiting: queue.SimpleQueue[tuple[Event, float] | None] = queue.SimpleQueue()
        self._closed = False
        self._own_loop = False
        self._loop: AbstractEventLoop | None = None
        self._threads: list[threading.Thread] = []
        if inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
            getattr(handler, "__call__", None)  # noqa: B004 - an object whose call is async
        ):
            self._loop = loop or self._start_loop()
        else:
            self._start(*[self._work] * max(workers, 1))

    def _start(self, *targets: Callable[[], None]) -> None:
        name = f"vmon {getattr(self.handler, '__name__', 'answers')}"
        self._threads = [threading.Thread(target=target, name=name, daemon=True) for target in targets]
        for thread in self._threads:
            thread.start()

    def _start_loop(self) -> AbstractEventLoop:
        import asyncio  # noqa: PLC0415 - who answers without it pays nothing

        loop = asyncio.new_event_loop()
        self._own_loop = True
        self._start(loop.run_forever)
        return loop

    def ask(self, event: Event) -> None:
        """Have it decide; returns at once."""
        asked = time.monotonic()
        if self._loop is None:
            self._waiting.put((event, asked))
            return
        import asyncio  # noqa: PLC0415

        if self._loop.is_closed():
            self._answer(event, asked, self._failed(event, "its event loop is closed"))
            return
        asyncio.run_coroutine_threadsafe(self._decide_async(event, asked), self._loop)

    def _work(self) -> None:
        while (item := self._waiting.get()) is not None:
            event, asked = item
            try:
                said: object = self.handler(event)
            except Exception:
                said = self._failed(event, "raised", exc_info=True)
            self._answer(event, asked, said)

    async def _decide_async(self, event: Event, asked: float) -> None:
        try:
            deciding = self.handler(event)
            said = await deciding if isinstance(deciding, Coroutine | Awaitable) else deciding
        except Exception:
            said = self._failed(event, "raised", exc_info=True)
        self._answer(event, asked, said)

    def _failed(self, event: Event, why: str, **more: Any) -> Answer:
        """Report it; what the rule says for lack of an answer."""
        self.failures += 1
        fallback = self._fallback(event)
        LOG.error(
            "%s: %s %s by pid %d: the rule's fallback decides: %s",
            printable(getattr(self.handler, "__name__", "a handler")),
            event.event,
            why,
            event.pid,
            fallback,
            **more,
        )
        return fallback

    def _fallback(self, event: Event) -> Answer:
        rule = self._rule_of(event.rule)
        return "deny" if rule is None else rule.fallback

    def _answer(self, event: Event, asked: float, said: object) -> None:
        if said not in ANSWERS:
            said = self._failed(event, f"{said!r} is no answer (allow, deny, kill) to")
        rule = self._rule_of(event.rule)
        in_time = rule is None or (time.monotonic() - asked) * 1000 <= rule.timeout_ms
        if not in_time:
            self.late += 1
            LOG.warning(
                "%s: an answer to %s by pid %d came too late: the rule's fallback has decided: %s",
                printable(getattr(self.handler, "__name__", "a handler")),
                event.event,
                event.pid,
                self._fallback(event),
            )
        self._say(event, said if in_time else self._fallback(event), in_time)  # type: ignore[arg-type]

    def close(self) -> None:
        """Answers nothing more; what it is just deciding is decided."""
        if self._closed:
            return
        self._closed = True
        for _ in self._threads:
            self._waiting.put(None)
        if self._own_loop and self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(CLOSE_S)
        if self._own_loop and self._loop is not None and not self._loop.is_running():
            self._loop.close()


CLOSE_S = 1.0
"""A handler that hangs is left behind: its thread ends with the program."""
