from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import WORD_VALUES, steady
from tests.unit.linux.routes import Routes
from vmon.core.coverage import Gaps
from vmon.core.records.network import RouteRecord
from vmon.linux.fib import find_routes, in_order
from vmon.linux.net import Net

EDGE = (1 << 64) - 8


def found(made: Routes, gaps: Gaps, calls_limit: int = 30_000) -> list[RouteRecord]:
    return in_order(find_routes(made.kernel(calls_limit), Net(made.net, 11), gaps))


def brief(records: list[RouteRecord]) -> list[tuple[object, ...]]:
    return [
        (
            record.table,
            f"{record.destination}/{record.prefix_length}",
            record.gateway,
            record.interface,
            record.metric,
        )
        for record in records
    ]


def test_a_trie_that_two_tables_share_and_one_of_its_own() -> None:
    made, gaps = Routes(), Gaps()
    default = made.alias(made.info([made.way("eth0", "10.0.0.1")], metric=5), table=254, length=0)
    near = made.alias(made.info([made.way("eth0")], scope=253, source="10.0.0.5"), table=254, length=24)
    own = made.alias(made.info([made.way("lo")], scope=254), table=255, length=32, kind=2)
    tree = made.node(
        [
            made.leaf(0, [default]),
            made.node([0, made.leaf(0x0A000000, [near]), 0, made.leaf(0x0A000005, [own])]),
        ]
    )
    trie = made.trie(tree)
    made.table(trie, bucket=254)
    made.table(trie, bucket=255)
    black = made.alias(made.info([made.way(None)], protocol=16), table=100, length=16, kind=6)
    made.table(made.trie(made.leaf(0x0A580000, [black])), bucket=100)
    records = found(made, gaps)
    assert brief(records) == [
        ("main", "0.0.0.0/0", "10.0.0.1", "eth0", 5),
        ("main", "10.0.0.0/24", None, "eth0", 0),
        ("100", "10.88.0.0/16", None, None, 0),
        ("local", "10.0.0.5/32", None, "lo", 0),
    ]
    assert [record.type for record in records] == ["unicast", "unicast", "blackhole", "local"]
    assert [record.scope for record in records] == ["global", "link", "global", "host"]
    assert [record.protocol for record in records] == ["kernel", "kernel", "dhcp", "kernel"]
    assert [record.preferred_source for record in records] == [None, "10.0.0.5", None, None]
    assert gaps.records() == []


def test_a_leaf_with_several_prefixes() -> None:
    made, gaps = Routes(), Gaps()
    aliases = [
        made.alias(made.info([made.way("eth0")], metric=length), table=254, length=length)
        for length in (32, 24, 8)
    ]
    made.table(made.trie(made.leaf(0x0A010203, aliases)))
    assert brief(found(made, gaps)) == [
        ("main", "10.0.0.0/8", None, "eth0", 8),
        ("main", "10.1.2.0/24", None, "eth0", 24),
        ("main", "10.1.2.3/32", None, "eth0", 32),
    ]


def test_an_empty_table() -> None:
    made, gaps = Routes(), Gaps()
    made.table(made.trie(0))
    assert found(made, gaps) == []
    assert gaps.records() == []


def test_tries_that_run_into_themselves_or_have_no_end() -> None:
    made, gaps = Routes(), Gaps()
    alias = made.alias(made.info([made.way("eth0")]), table=254, length=24)
    inner = made.node([made.leaf(0x0A000000, [alias]), 0])
    made.put(inner + made.profile["key_vector"].offset("tnode") + 8, inner)
    made.table(made.trie(inner))
    assert len(found(made, gaps, 300)) == 1
    assert [gap.detail for gap in gaps.records()] == ["a trie that runs into itself"]


@pytest.mark.parametrize("bits", [23, 255])
def test_a_node_that_claims_millions_of_children(bits: int) -> None:
    made, gaps = Routes(), Gaps()
    inner = made.node([0, 0])
    made.set(inner, "key_vector", bits=bits)
    made.table(made.trie(inner))
    assert found(made, gaps) == []
    assert [gap.reason for gap in gaps.records()] == ["bounded"]


def test_a_prefix_that_cannot_be() -> None:
    made, gaps = Routes(), Gaps()
    alias = made.alias(made.info([made.way("eth0")]), table=254, length=24)
    made.set(alias, "fib_alias", fa_slen=77)
    made.table(made.trie(made.leaf(1, [alias])))
    assert found(made, gaps) == []
    assert [gap.reason for gap in gaps.records()] == ["unreadable"]


@steady(60)
@example([(place, EDGE) for place in range(60)])
@given(st.lists(st.tuples(st.integers(0, 40), WORD_VALUES), max_size=10))
def test_tables_of_any_bytes(changes: list[tuple[int, int]]) -> None:
    made, gaps = Routes(), Gaps()
    info = made.info([made.way("eth0"), made.way("lo", "10.0.0.1")])
    alias = made.alias(info, table=254, length=24)
    leaf = made.leaf(0x0A000000, [alias])
    inner = made.node([leaf, 0, 0, 0])
    trie = made.trie(inner)
    table = made.table(trie)
    places = [
        *range(info, info + 64, 8),
        *range(alias, alias + 40, 8),
        leaf,
        leaf + 8,
        inner,
        inner + 8,
        trie,
        table,
    ]
    places += [made.field(made.net, "net", "ipv4.fib_table_hash"), trie + 8, table + 16]
    for place, value in changes:
        made.put(places[place % len(places)], value)
    assert len(found(made, gaps)) <= 5000


def test_each_pointer_at_the_end_of_all_addresses() -> None:
    for place in range(60):
        test_tables_of_any_bytes.hypothesis.inner_test([(place, EDGE)])  # type: ignore[attr-defined]
