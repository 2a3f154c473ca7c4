from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.unit.probe.native import NativeGuest
from vmon.control.asks import Asker
from vmon.core.errors import UsageError
from vmon.core.events import Answer, Event
from vmon.core.rules import Fallback, Rule
from vmon.probe.records import Decoder
from vmon.probe.ring import Ring
from vmon.probe.rules import RuleTable

OPEN = ("file.open",)


def ask_about(native: NativeGuest, fallback: Fallback = "deny") -> None:
    table = RuleTable(native.probe())
    table.replace([])
    table.add([Rule(events=OPEN, path="/a", action="ask", errno=13, timeout_ms=500, fallback=fallback)])


def counted(native: NativeGuest) -> tuple[int, int, int]:
    probe = native.probe()
    asked, unanswered, denied = (
        probe.counters(name)["file.open"] for name in ("asked", "unanswered", "denied")
    )
    return asked, unanswered, denied


@contextmanager
def answering(native: NativeGuest, decide: Callable[[Event], Answer]) -> Iterator[list[Event]]:
    """Somebody answers at the third look."""
    told: list[Event] = []
    looks = []
    ring, decoder = Ring(native.abi, native.window, 64), Decoder(native.abi)

    with Asker(native.probe(), decide) as asker:

        def look() -> None:
            looks.append(1)
            if len(looks) % 3 == 0:
                told.extend(asker.answer(event) for event in decoder.iter_events(ring.take()) if event.ask)

        with native.while_waiting(look):
            yield told


@pytest.mark.parametrize(
    ("answer", "result", "verdict", "signalled"),
    [("allow", 0, "allowed", 0), ("deny", -13, "denied", 0), ("kill", -13, "killed", 9)],
)
def test_the_answer_decides(
    native: NativeGuest, answer: Answer, result: int, verdict: str, signalled: int
) -> None:
    ask_about(native)
    before = counted(native)
    with answering(native, lambda _: answer) as told:
        assert native.hook("FILE", native.file(b"a")) == result
        assert native.hook("FILE", native.file(b"b")) == 0
    assert [(event.path, event.verdict) for event in told] == [("/a", verdict)]
    assert native.word("native_signal") == signalled
    assert [after - old for old, after in zip(before, counted(native), strict=True)] == [
        1,
        0,
        int(result < 0),
    ]


@pytest.mark.parametrize(("fallback", "result"), [("deny", -13), ("allow", 0)])
def test_without_an_answer_in_time_the_fallback_decides(
    native: NativeGuest, fallback: Fallback, result: int
) -> None:
    ask_about(native, fallback)
    before = counted(native)
    with Asker(native.probe(), lambda _: "allow"):
        begin = native.word("native_slept", 1)
        assert native.hook("FILE", native.file(b"a")) == result
    slept_ms = (native.word("native_slept", 1) - begin) / 1000
    assert 500 <= slept_ms <= 510
    assert [after - old for old, after in zip(before, counted(native), strict=True)] == [
        1,
        1,
        int(result < 0),
    ]
    assert native.probe().get("state", "waiting") == 0


def test_nobody_waits_for_nobody(native: NativeGuest) -> None:
    ask_about(native)
    slept = native.word("native_slept")
    assert native.hook("FILE", native.file(b"a")) == -13
    assert native.word("native_slept") == slept
    (event,) = Decoder(native.abi).iter_events(Ring(native.abi, native.window, 64).take())
    assert (event.verdict, event.errno, event.ask) == ("denied", 13, 0)


def test_who_has_died_is_not_waited_for_twice(native: NativeGuest) -> None:
    table = RuleTable(native.probe())
    table.add([Rule(events=OPEN, path="/a", action="ask", timeout_ms=60_000)])
    probe = native.probe()
    probe.put("beat", 5)
    begin = native.word("native_slept", 1)
    assert native.hook("FILE", native.file(b"a")) == -errno.EPERM
    assert 1000 <= (native.word("native_slept", 1) - begin) / 1000 <= 1020, "one second, not sixty"
    begin = native.word("native_slept", 1)
    assert native.hook("FILE", native.file(b"a")) == -errno.EPERM
    assert native.word("native_slept", 1) == begin
    with answering(native, lambda _: "allow"):
        assert native.hook("FILE", native.file(b"a")) == 0, "the next one is alive"


def test_where_the_kernel_must_not_sleep_nobody_is_asked(native: NativeGuest) -> None:
    ask_about(native)
    native.set_word("native_atomic", 1)
    with answering(native, lambda _: "allow") as told:
        assert native.hook("FILE", native.file(b"a")) == -13
    assert told == []


def test_what_is_no_answer_is_said(native: NativeGuest) -> None:
    with (
        Asker(native.probe(), lambda _: "perhaps") as asker,  # type: ignore[arg-type,return-value]
        pytest.raises(UsageError, match="perhaps"),
    ):
        ask_about(native)
        native.hook("FILE", native.file(b"a"))
        for event in Decoder(native.abi).iter_events(Ring(native.abi, native.window, 64).take()):
            asker.answer(event)
