from __future__ import annotations

import pytest

from tests.unit.probe.native import NativeGuest
from vmon.core.errors import NotSupported
from vmon.probe.mailbox import Mailbox


def mailbox(native: NativeGuest) -> Mailbox:
    """A guest that takes an interrupt when it is woken."""
    return Mailbox(native.abi, native.window, lambda _: native.hook("TICK"))


def test_a_signal_goes_to_the_process_that_was_meant(native: NativeGuest) -> None:
    box = mailbox(native)
    answer = box.ask("SIGNAL", pid=42, start_ns=7, signal=15)
    assert (answer.result, native.word("native_killed", 1)) == (0, 15)
    assert answer.took_ns > 0
    assert box.ask("SIGNAL", pid=42, start_ns=8, signal=9).result == -3
    assert box.ask("SIGNAL", pid=404, start_ns=7, signal=9).result == -3
    assert native.word("native_killed", 1) == 15


def test_pages(native: NativeGuest) -> None:
    box = mailbox(native)
    assert box.ask("GET_PAGES", order=4).value == 0x10000
    assert box.ask("GET_PAGES", order=9).result == -12


def test_it_is_answered_in_any_process_that_does_something(native: NativeGuest) -> None:
    """Not only at ticks: the mailbox waits for the next of them, and a request is done once."""
    box = mailbox(native)
    box.ask("GET_PAGES", order=0)
    state = native.abi.sizes["STATE_AT"] + native.abi.offset("state", "mailbox.done")
    done = native.window.read(state, 8)
    native.hook("TICK")
    assert native.window.read(state, 8) == done


def test_a_machine_without_a_keyboard_is_woken_the_second_way_and_from_then_on(native: NativeGuest) -> None:
    ways: list[int] = []

    def wake(attempt: int) -> None:
        ways.append(attempt)
        if attempt:
            native.hook("TICK")

    box = Mailbox(native.abi, native.window, wake)
    for _ in range(3):
        box.ask("GET_PAGES", order=0)
    assert ways == [0, 1, 1, 1]


def test_a_guest_that_does_not_answer(native: NativeGuest) -> None:
    with pytest.raises(NotSupported, match="did not answer"):
        Mailbox(native.abi, native.window).ask("GET_PAGES", timeout_s=0.05, order=0)


def test_what_a_dead_host_asked_for_is_done_first(native: NativeGuest) -> None:
    """Its fields would mix with those of the next request."""
    with pytest.raises(NotSupported):
        Mailbox(native.abi, native.window).ask("SIGNAL", timeout_s=0.01, pid=42, start_ns=7, signal=15)
    assert native.word("native_killed", 1) == 0
    assert mailbox(native).ask("GET_PAGES", order=4).value == 0x10000
    assert native.word("native_killed", 1) == 15
