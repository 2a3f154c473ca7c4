from __future__ import annotations

from vmon.api import limits
from vmon.api.limits import Limit


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_so_many_at_once_then_so_many_a_second() -> None:
    clock = Clock()
    limit = Limit(3, 0.5, clock)
    assert [limit.take("a") for _ in range(5)] == [0, 0, 0, 2, 2]
    assert limit.take("b") == 0
    clock.now = 2.0
    assert limit.wait_s("a") == 0
    assert [limit.take("a"), limit.take("a")] == [0, 2]
    clock.now = 1000.0
    assert [limit.take("a") for _ in range(4)] == [0, 0, 0, 2]


def test_clients_are_forgotten_the_oldest_first() -> None:
    clock = Clock()
    limit = Limit(1, 0.001, clock)
    assert limit.take("first") == 0
    for number in range(limits.MAX_CLIENTS):
        limit.take(str(number))
    assert limit.take("first") == 0
    assert limit.take(str(limits.MAX_CLIENTS - 1)) > 0
