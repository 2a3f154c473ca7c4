"""What a queue promises: order, tries again, a bound, counts that add up, and an end in time."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence

from tests.unit.export.told import NOTICES, ORIGIN, event
from vmon.core.records.output import OutputRecord
from vmon.export.jsonl import encode
from vmon.sinks.queue import Queue
from vmon.sinks.writer import Refused, Undelivered

PATIENCE_S = 30.0


class Fake:
    """Takes what its plan says: how many of each batch, or what it raises."""

    batch_records = 10
    linger_s = 0.0
    note = "noted"

    def __init__(self, *plan: Exception) -> None:
        self.plan = list(plan)
        self.got: list[bytes] = []
        self.open = threading.Event()
        self.open.set()
        self.closed = False
        self.idled = threading.Event()

    def write(self, batch: Sequence[bytes]) -> None:
        assert self.open.wait(PATIENCE_S)
        if self.plan:
            error = self.plan.pop(0)
            self.got += batch[: getattr(error, "delivered", 0)]
            raise error
        self.got += batch

    def idle(self) -> None:
        self.idled.set()

    def close(self) -> None:
        self.closed = True

    def sequences(self) -> list[int]:
        return [json.loads(line).get("sequence", -1) for line in self.got]


def queue(writer: Fake, **more: object) -> Queue:
    return Queue("fake:", "jsonl", encode, writer, chance=lambda: 0.0, **more)  # type: ignore[arg-type]


def adds_up(found: OutputRecord) -> bool:
    return found.taken == found.delivered + found.dropped + found.waiting


def test_all_arrives_in_order() -> None:
    writer = Fake()
    out = queue(writer)
    for number in range(1000):
        out.put(event(sequence=number), ORIGIN)
    found = out.close()
    assert writer.sequences() == list(range(1000))
    assert (found.delivered, found.dropped, found.retried, found.waiting) == (1000, 0, 0, 0)
    assert writer.closed and out.note == "noted" and adds_up(found)


def test_what_fails_is_tried_again_from_where_it_failed() -> None:
    said: list[str] = []
    writer = Fake(
        Undelivered("down"), Undelivered("down still", 3), ValueError("a bug"), Undelivered("x", wait_s=0.01)
    )
    writer.open.clear()
    out = queue(writer, say=said.append)
    for number in range(25):
        out.put(event(sequence=number), ORIGIN)
    writer.open.set()
    deadline = time.monotonic() + PATIENCE_S
    while out.counts().waiting and time.monotonic() < deadline:
        time.sleep(0.01)
    found = out.close()
    assert writer.sequences() == list(range(25))
    assert (found.delivered, found.retried, found.last_error) == (25, 4, "x")
    assert said == ["down: trying again", "fake:: works again"]


def test_what_is_refused_is_dropped_and_counted() -> None:
    writer = Fake(Refused("too long", 2, 1))
    writer.open.clear()
    out = queue(writer)
    for number in range(5):
        out.put(event(sequence=number), ORIGIN)
    writer.open.set()
    found = out.close()
    assert found.dropped == 1 and found.delivered == 4 and adds_up(found)
    assert found.last_error == "too long"
    writer = Fake(Refused("never"))
    out = queue(writer)
    out.put(event(), ORIGIN)
    assert out.close().dropped == 1


def test_who_is_too_slow_loses_and_is_told_where() -> None:
    writer = Fake()
    writer.open.clear()
    out = queue(writer, max_records=20)
    begin = time.monotonic()
    for number in range(500):
        out.put(event(sequence=number), ORIGIN)
    assert time.monotonic() - begin < PATIENCE_S / 3  # nobody waited for the writer
    found = out.counts()
    assert found.dropped > 400 and adds_up(found)
    writer.open.set()
    deadline = time.monotonic() + PATIENCE_S
    while out.counts().waiting and time.monotonic() < deadline:
        time.sleep(0.01)
    out.put(event(sequence=1000), ORIGIN)
    last = out.close()
    assert adds_up(last) and last.waiting == 0
    told = [json.loads(line) for line in writer.got if b"vmon.dropped" in line]
    assert [int(found["said"].split()[0]) for found in told] == [found.dropped]
    assert writer.sequences()[-1] == 1000


def test_it_ends_in_time_whatever_the_other_end_does() -> None:
    writer = Fake(*[Undelivered("down")] * 1000)
    out = queue(writer)
    for number in range(30):
        out.put(event(sequence=number), ORIGIN)
    found = out.close(0.5)
    assert found.dropped == 30 and adds_up(found)
    assert found.last_error == "down"
    assert writer.closed


def test_a_record_that_can_not_be_written_ends_nothing() -> None:
    def breaks(record: object, origin: object) -> bytes:
        if getattr(record, "sequence", 0) == 1:
            raise KeyError("x")
        return b"{}"

    writer = Fake()
    out = Queue("fake:", "ecs", breaks, writer)  # type: ignore[arg-type]
    for number in range(3):
        out.put(event(sequence=number), ORIGIN)
    found = out.close()
    assert (found.delivered, found.dropped) == (2, 1)
    assert "could not be written as ecs" in found.last_error


def test_a_writer_hears_that_nothing_waits() -> None:
    writer = Fake()
    out = queue(writer)
    out.put(NOTICES[0], ORIGIN)
    assert writer.idled.wait(PATIENCE_S)
    out.close()


def test_many_threads_put() -> None:
    writer = Fake()
    out = queue(writer)

    def work() -> None:
        for number in range(2000):
            out.put(event(sequence=number), ORIGIN)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = out.close(PATIENCE_S)
    assert found.taken == found.delivered == 8000
