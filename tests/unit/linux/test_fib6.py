from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import WORD_VALUES, steady
from tests.unit.linux.routes import Routes
from vmon.core.coverage import Gaps
from vmon.core.records.network import RouteRecord
from vmon.linux.fib6 import find_routes6
from vmon.linux.net import Net

EDGE = (1 << 64) - 8


def found(made: Routes, gaps: Gaps, calls_limit: int = 30_000) -> list[RouteRecord]:
    return find_routes6(made.kernel(calls_limit), Net(made.net, 11), gaps)


@pytest.mark.parametrize("subtrees", [True, False])
def test_routes_of_all_tables(subtrees: bool) -> None:
    made, gaps = Routes(subtrees), Gaps()
    one = made.info6("fd00::", 64, made.way("eth0", "fe80::1"), metric=256)
    other = made.info6("fd00::", 64, made.way("lo"), metric=1024, protocol=9)
    made.set(one, "fib6_info", fib6_next=other)
    deep = made.info6("fd00::7", 128, made.way("eth0"), kind=2)
    # A node between others points to a route of one below it, which is no route of its own.
    between = made.node6(deep, real=False, left=made.node6(one), right=made.node6(deep))
    made.table6(254, made.null, left=between)
    made.table6(255, made.null)
    made.table6(77, made.info6("::", 0, made.way("eth0", "fe80::2")), bucket=7)
    records = sorted(
        found(made, gaps), key=lambda record: (record.table, record.prefix_length, record.metric)
    )
    assert [
        (
            record.table,
            f"{record.destination}/{record.prefix_length}",
            record.gateway,
            record.interface,
            record.metric,
        )
        for record in records
    ] == [
        ("77", "::/0", "fe80::2", "eth0", 0),
        ("main", "fd00::/64", "fe80::1", "eth0", 256),
        ("main", "fd00::/64", None, "lo", 1024),
        ("main", "fd00::7/128", None, "eth0", 0),
    ]
    assert [(record.type, record.protocol, record.scope) for record in records[2:]] == [
        ("unicast", "ra", None),
        ("local", "kernel", None),
    ]
    assert gaps.records() == []


def test_routes_from_somewhere() -> None:
    made, gaps = Routes(), Gaps()
    info = made.info6("fd00::", 64, made.way("eth0"))
    made.set(info, "fib6_info", fib6_src__addr=b"\xfd\x01" + bytes(14), fib6_src__plen=48)
    made.set(info, "fib6_info", fib6_prefsrc__addr=b"\xfd\x02" + bytes(14))
    made.table6(254, made.null, subtree=made.node6(info))
    (record,) = found(made, gaps)
    assert (record.source, record.preferred_source) == ("fd01::/48", "fd02::")


def test_a_tree_that_runs_into_itself() -> None:
    made, gaps = Routes(), Gaps()
    node = made.node6(made.info6("fd00::", 64, made.way("eth0")))
    made.set(node, "fib6_node", right=node, left=0xFFFF_C900_0000_0000)
    made.table6(254, made.null, left=node)
    assert len(found(made, gaps, 300)) == 1
    assert [gap.detail for gap in gaps.records()] == ["a tree that runs into itself"]


def test_a_kernel_without_ipv6() -> None:
    made, gaps = Routes(), Gaps()
    kernel = made.kernel()
    del kernel.profile.structs["net"].fields["ipv6.fib_table_hash"]
    assert find_routes6(kernel, Net(made.net, 11), gaps) == []
    assert [gap.reason for gap in gaps.records()] == ["not on this kernel"]


@steady(60)
@example([(place, EDGE) for place in range(60)])
@given(st.lists(st.tuples(st.integers(0, 40), WORD_VALUES), max_size=10))
def test_tables_of_any_bytes(changes: list[tuple[int, int]]) -> None:
    made, gaps = Routes(), Gaps()
    info = made.info6("fd00::", 64, made.way("eth0"))
    node = made.node6(info)
    table = made.table6(254, made.null, left=node)
    places = [*range(info, info + 96, 8), *range(node, node + 40, 8), *range(table, table + 64, 8)]
    for place, value in changes:
        made.put(places[place % len(places)], value)
    assert len(found(made, gaps)) <= 20


def test_each_pointer_at_the_end_of_all_addresses() -> None:
    for place in range(60):
        test_tables_of_any_bytes.hypothesis.inner_test([(place, EDGE)])  # type: ignore[attr-defined]
