from __future__ import annotations

import numpy as np

from tests.unit.linux.routes import Routes
from vmon.core.coverage import Gaps
from vmon.linux import nexthop
from vmon.linux.nexthop import Way, find_ways


def ways(
    made: Routes, objects: list[int], gaps: Gaps, counts: list[int] | None = None, first: int = 0
) -> list[tuple[Way, int]]:
    column = np.array(objects, dtype=np.uint64)
    numbers = np.array(counts or [0] * len(objects), dtype=np.uint64)
    start = np.full(len(objects), first, dtype=np.uint64)
    return list(find_ways(made.kernel(), start, numbers, made.profile["fib_nh"].size, column, gaps))


def test_ways_of_its_own_and_of_objects() -> None:
    made, gaps = Routes(), Gaps()
    info = made.info([made.way("eth0", "10.0.0.1"), made.way("lo", weight=3, flags=0x11)])
    one, two = made.nexthop(made.way("eth0", "10.0.0.7")), made.nexthop(made.way("lo", "fe80::7"))
    group = made.nexthop_group([(one, 1), (two, 5)])
    first = info + made.profile["fib_info"].offset("fib_nh")
    found = ways(made, [0, two, group], gaps, [2, 0, 0], first)
    assert found == [
        (Way("eth0", "10.0.0.1", 1, []), 0),
        (Way("lo", None, 3, ["dead", "linkdown"]), 0),
        (Way("lo", "fe80::7", 1, []), 1),
        (Way("eth0", "10.0.0.7", 1, []), 2),
        (Way("lo", "fe80::7", 5, []), 2),
    ]
    assert gaps.records() == []


def test_numbers_that_cannot_be() -> None:
    made, gaps = Routes(), Gaps()
    info = made.info([made.way("eth0")])
    first = info + made.profile["fib_info"].offset("fib_nh")
    assert len(ways(made, [0], gaps, [0xFFFF_FFFF], first)) == 1
    group = made.nexthop_group([])
    made.set(made.kernel().memory.u64(made.field(group, "nexthop", "nh_info")), "nh_group", num_nh=60_000)
    assert ways(made, [group], gaps) == []
    assert [gap.reason for gap in gaps.records()] == ["bounded", "bounded"]
    assert nexthop.MAX_WAYS < 60_000


def test_objects_that_are_nowhere() -> None:
    made, gaps = Routes(), Gaps()
    (found,) = ways(made, [0xFFFF_C900_0000_0000], gaps)
    assert found == (Way(None, None, 0, []), 0)
