from __future__ import annotations

import asyncio
import gc
import threading
import time
from typing import Any

import pytest

from vmon.core.errors import GuestRebooted
from vmon.core.events import Event
from vmon.monitor.subscription import Share, Subscription, ended_by


def event(kind: str, sequence: int = 1, **more: Any) -> Event:
    return Event(
        event=kind,
        sequence=sequence,
        time_ns=0,
        key="7@7",
        pid=7,
        tid=7,
        ppid=1,
        uid=0,
        euid=0,
        gid=0,
        name="x",
        cpu=0,
        cgroup_id=1,
        **more,
    )


def opened(**more: Any) -> tuple[Share, Subscription, list[Share]]:
    share, dropped = Share(["file.open"], more.pop("only", None), more.pop("size", 100)), []
    return share, Subscription(share, dropped.append, **more), dropped


def test_what_was_asked_for_is_given_in_order() -> None:
    share, events, dropped = opened(timeout_s=0.01)
    share.put([event("file.open", 1), event("process.exec", 2), event("file.open", 3)])
    assert [found.sequence for found in events] == [1, 3]
    assert dropped == [share], "its time has passed"
    assert events.lost == 0


def test_who_is_too_slow_loses_the_newest_and_is_told() -> None:
    share, events, _ = opened(size=2)
    share.put([event("file.open", number) for number in range(5)])
    share.put([event("file.open", 9)])
    assert [found.sequence for found in events.take()] == [0, 1]
    assert events.lost == 4
    share.put([event("file.open", 10)])
    assert [found.sequence for found in events.take()] == [10]


def test_only_is_shown_every_kind() -> None:
    shown: list[str] = []

    def only(found: Event) -> bool:
        shown.append(found.event)
        return found.sequence > 1

    share, events, _ = opened(only=only)
    share.put([event("process.fork", 5), event("file.open", 1), event("file.open", 2)])
    assert shown == ["process.fork", "file.open", "file.open"]
    assert [found.sequence for found in events.take()] == [2]


def test_an_only_that_fails_ends_its_own_subscription() -> None:
    def only(_: Event) -> bool:
        raise KeyError("mine")

    share, events, dropped = opened(only=only)
    share.put([event("file.open")])
    with pytest.raises(KeyError, match="mine"):
        next(events)
    assert dropped == [share]


def test_what_came_before_an_end_is_given_before_its_error() -> None:
    share, events, _ = opened()
    share.put([event("file.open", 1)])
    share.end(GuestRebooted("another kernel"))
    assert next(events).sequence == 1
    for ask in (events.take, events.__next__):
        with pytest.raises(GuestRebooted):
            ask()


def test_closing_ends_a_loop_in_another_thread() -> None:
    _, events, dropped = opened()
    found: list[Event] = []
    thread = threading.Thread(target=lambda: found.extend(events))
    thread.start()
    events.close()
    thread.join(20)
    assert not thread.is_alive()
    assert found == []
    assert dropped


def test_leaving_a_loop_marks_it() -> None:
    share, events, dropped = opened()
    share.put([event("file.open")])
    for _ in events:
        break
    assert not share.closed
    del events
    gc.collect()
    assert share.closed
    assert dropped == [], "the hub's thread does that"


def test_an_async_loop_goes_on_with_other_work() -> None:
    share, events, dropped = opened()
    seen: list[int] = []

    async def read() -> None:
        async for found in events:
            seen.append(found.sequence)
            if found.sequence == 2:
                break

    async def both() -> None:
        reading = asyncio.create_task(read())
        await asyncio.sleep(0)
        threading.Thread(target=share.put, args=([event("file.open", 1)],)).start()
        deadline = time.monotonic() + 20
        while not seen and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        threading.Thread(target=share.put, args=([event("file.open", 2)],)).start()
        await reading

    asyncio.run(both())
    assert seen == [1, 2]
    assert share.closed
    assert dropped


def test_an_async_loop_ends_with_its_time_and_with_an_error() -> None:
    _, quiet, _ = opened(timeout_s=0.01)
    share, broken, _ = opened()
    share.end(GuestRebooted("another kernel"))

    async def read(events: Subscription) -> list[Event]:
        return [found async for found in events]

    assert asyncio.run(read(quiet)) == []
    with pytest.raises(GuestRebooted):
        asyncio.run(read(broken))


def test_an_error_that_is_none_of_vmons_is_named() -> None:
    error = GuestRebooted("x")
    assert ended_by(error) is error
    assert "ValueError: mmap closed" in str(ended_by(ValueError("mmap closed")))
