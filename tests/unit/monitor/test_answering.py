from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.unit.monitor.test_subscription import event
from vmon.core.events import Answer, Event
from vmon.core.rules import Rule
from vmon.monitor.answering import Answerer

RULE = Rule(events=("file.open",), action="ask", timeout_ms=60_000, fallback="allow")
ASKED = event("file.open", rule=1, ask=1, verdict="asked", path="/x")


class Heard:
    """Takes answers, as the hub does."""

    def __init__(self) -> None:
        self.said: queue.Queue[tuple[Answer, bool]] = queue.Queue()
        self.made: list[Answerer] = []

    def __call__(self, _: Event, answer: Answer, in_time: bool) -> None:
        self.said.put((answer, in_time))

    def by(self, handler: Callable[..., Any], rule: Rule | None = RULE, **more: Any) -> Answerer:
        self.made.append(Answerer(handler, self, lambda _: rule, **more))
        return self.made[-1]

    def next(self) -> tuple[Answer, bool]:
        return self.said.get(timeout=20)


@pytest.fixture
def heard() -> Iterator[Heard]:
    found = Heard()
    yield found
    for answerer in found.made:
        answerer.close()


def test_a_function_answers_in_a_thread_of_its_own(heard: Heard) -> None:
    threads: list[threading.Thread] = []

    def deny(found: Event) -> Answer:
        threads.append(threading.current_thread())
        return "deny" if found.path == "/x" else "allow"

    answerer = heard.by(deny)
    answerer.ask(ASKED)
    assert heard.next() == ("deny", True)
    assert threads[0] is not threading.current_thread()
    answerer.close()
    assert not threads[0].is_alive()


def test_several_workers_answer_at_once(heard: Heard) -> None:
    together = threading.Barrier(3)

    def wait(_: Event) -> Answer:
        together.wait(20)
        return "kill"

    answerer = heard.by(wait, workers=3)
    for _ in range(3):
        answerer.ask(ASKED)
    assert [heard.next() for _ in range(3)] == [("kill", True)] * 3


def broken(_: Event) -> Answer:
    raise ValueError("broken\x1b[31m")


async def broken_async(_: Event) -> Answer:
    raise ValueError("broken too")


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (broken, "raised"),
        (broken_async, "raised"),
        (lambda _: None, "None is no answer"),
        (lambda _: ["allow"], "is no answer"),
    ],
)
def test_a_failure_is_reported_and_the_fallback_decides(
    heard: Heard, caplog: pytest.LogCaptureFixture, handler: Callable[..., Any], words: str
) -> None:
    with caplog.at_level(logging.ERROR, "vmon"):
        answerer = heard.by(handler)
        answerer.ask(ASKED)
        assert heard.next() == ("allow", True)
    assert answerer.failures == 1
    assert words in caplog.text
    assert "file.open" in caplog.text
    heard.by(handler, None).ask(ASKED)
    assert heard.next() == ("deny", True), "of a rule that is gone"


def test_what_comes_too_late_is_told_as_the_fallback(heard: Heard, caplog: pytest.LogCaptureFixture) -> None:
    rule = Rule(events=("file.open",), action="ask", timeout_ms=0, fallback="deny")

    def slow(_: Event) -> Answer:
        time.sleep(0.001)
        return "allow"

    answerer = heard.by(slow, rule)
    answerer.ask(ASKED)
    assert heard.next() == ("deny", False)
    assert answerer.late == 1
    assert "too late" in caplog.text


def test_an_async_function_without_a_loop_gets_one(heard: Heard) -> None:
    both = asyncio.Barrier(2)

    async def answer(_: Event) -> Answer:
        await both.wait()
        return "kill"

    answerer = heard.by(answer)
    answerer.ask(ASKED)
    answerer.ask(ASKED)
    assert [heard.next(), heard.next()] == [("kill", True)] * 2


def test_an_object_whose_call_is_async(heard: Heard) -> None:
    class Asker:
        async def __call__(self, _: Event) -> Answer:
            return "deny"

    heard.by(Asker()).ask(ASKED)
    assert heard.next() == ("deny", True)


def test_an_async_function_in_the_callers_loop(heard: Heard) -> None:
    loops: list[object] = []

    async def answer(_: Event) -> Answer:
        loops.append(asyncio.get_running_loop())
        return "allow"

    async def main() -> object:
        answerer = heard.by(answer, loop=asyncio.get_running_loop())
        answerer.ask(ASKED)
        await asyncio.to_thread(heard.next)
        return asyncio.get_running_loop()

    assert asyncio.run(main()) is loops[0]
    heard.made[0].ask(ASKED)
    assert heard.next() == ("allow", True), "its loop is closed: the fallback"
    assert heard.made[0].failures == 1


def test_it_is_closed_by_its_own_function(heard: Heard) -> None:
    def once(_: Event) -> Answer:
        heard.made[0].close()
        return "deny"

    heard.by(once).ask(ASKED)
    assert heard.next() == ("deny", True)
