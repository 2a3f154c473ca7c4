from __future__ import annotations

import msgspec
import pytest

from tests.unit.tui.fake import SECOND, frame, row
from vmon.tui.rates import LONGEST_LAG_S, Clock, Rates


def test_a_busy_guest_moves_its_clock_and_that_counts() -> None:
    clock = Clock()
    assert clock.look(5 * SECOND, 100.0) == 0.0
    assert clock.look(6 * SECOND, 101.0) == 1.0
    # Twice as fast as the host's, as after a migration.
    assert clock.look(8 * SECOND, 102.0) == 2.0
    assert not clock.stands_still


def test_an_idle_guest_moves_it_late_and_the_host_carries_it_on() -> None:
    clock = Clock()
    clock.look(5 * SECOND, 100.0)
    assert clock.look(5 * SECOND, 101.0) == 1.0
    assert not clock.stands_still
    assert clock.look(7 * SECOND, 102.0) == 1.0


def test_a_paused_guest_gets_no_time() -> None:
    clock = Clock()
    clock.look(5 * SECOND, 100.0)
    assert clock.look(5 * SECOND, 110.0) == pytest.approx(LONGEST_LAG_S)
    assert clock.look(5 * SECOND, 111.0) == 0.0
    assert clock.stands_still
    assert clock.look(6 * SECOND + SECOND // 2, 112.0) == pytest.approx(1.0, abs=0.5)


def test_a_clock_that_goes_back_or_is_not_known() -> None:
    clock = Clock()
    assert clock.look(None, 100.0) == 0.0
    assert clock.look(None, 101.0) == 1.0
    clock = Clock()
    clock.look(500 * SECOND, 100.0)
    assert clock.look(1 * SECOND, 101.0) == 0.0


def test_shares_of_a_cpu() -> None:
    rates = Rates()
    rows = [row(1), row(2, cpu_s=5.0), row(3, cpu_s=9.0)]
    rates.look(frame(rows, 100.0))
    assert rates.cpu == {}
    later = [
        rows[0],
        msgspec.structs.replace(rows[1], cpu_s=5.25),
        msgspec.structs.replace(rows[2], cpu_s=999.0),
    ]
    rates.look(frame([*later, row(4, cpu_s=0.5, start_ns=100 * SECOND)], 101.0))
    # A lying guest is cut to the CPUs that it has; a new process has used all its time since.
    assert rates.cpu == pytest.approx(
        {rows[0].key: 0, rows[1].key: 0.25, rows[2].key: 2.0, f"4@{100 * SECOND}": 0.5}
    )
    assert rates.busy == pytest.approx([0.5, 0.1])


def test_another_kernel_begins_anew() -> None:
    rates = Rates()
    rates.look(frame([row(1, cpu_s=5.0)], 100.0))
    rates.look(frame([row(1, cpu_s=6.0)], 101.0))
    rates.look(frame([row(1, cpu_s=7.0)], 2.0, boot="1.1"))
    assert rates.cpu == {}


def test_a_guest_that_stands_still_uses_nothing() -> None:
    rates = Rates()
    for host_s in (100.0, 110.0, 120.0):
        rates.look(frame([row(1, cpu_s=5.0)], 100.0, host_s=host_s))
    assert rates.cpu == {row(1).key: 0.0}
    assert rates.busy == [0.0, 0.0]
