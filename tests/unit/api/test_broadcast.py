from __future__ import annotations

import asyncio
from contextlib import aclosing

from vmon.api.broadcast import Broadcast, Lost, Told


def numbers(batch: list[Told | Lost]) -> list[object]:
    return [told.number if isinstance(told, Told) else told for told in batch]


def test_two_readers_get_all_from_where_they_began() -> None:
    async def run() -> None:
        told = Broadcast(10)
        told.put("a", b"1")
        async with aclosing(told.follow(1)) as first, aclosing(told.follow(told.now)) as second:
            assert numbers(await anext(first)) == [1]
            waiting = asyncio.ensure_future(anext(second))
            await asyncio.sleep(0)
            told.put("a", b"2")
            assert numbers(await waiting) == [2]
            assert numbers(await anext(first)) == [2]
            assert told.readers == 2
        assert told.readers == 0

    asyncio.run(run())


def test_what_was_not_kept_is_counted() -> None:
    async def run() -> None:
        told = Broadcast(3)
        for _ in range(8):
            told.put("a", b"")
        async with aclosing(told.follow(1)) as reader:
            assert numbers(await anext(reader)) == [Lost(5), 6, 7, 8]

    asyncio.run(run())


def test_a_reader_chooses_and_is_not_woken_by_the_rest() -> None:
    async def run() -> None:
        told = Broadcast()
        for number in range(1201):
            told.put("a", b"", number)
        async with aclosing(told.follow(1, lambda each: each.about == 1200, beat_s=0.01)) as reader:
            assert numbers(await anext(reader)) == [1201]
            assert await anext(reader) == []

    asyncio.run(run())


def test_an_id_is_a_place_and_that_of_another_is_none() -> None:
    told, other = Broadcast(2), Broadcast(2)
    for _ in range(4):
        told.put("a", b"")
    last = told._kept[-1]
    assert told.place(told.id_of(last)) == 5
    assert told.place(f"{told.name}-99") == 5
    assert told.place("first") == 3
    for wrong in (other.id_of(last), "", told.name, f"{told.name}-x", f"{told.name}-{'9' * 40}", "-1"):
        assert told.place(wrong) is None
