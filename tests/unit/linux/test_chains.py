from __future__ import annotations

import numpy as np
import pytest

from tests.unit.linux.small import PAGE_OFFSET, RAM_BYTES, Small
from vmon.core.coverage import Gaps
from vmon.linux import chains
from vmon.linux.chains import WANTS, read_heads, walk_chains, walk_rhashtables

STRUCTS = {
    "rhash_lock_head": "",
    "bucket_table": "size:u32 nest:u32 future_tbl:p buckets:u64*0",
    "rhashtable": "tbl:p nelems:u32",
}
WILD = 0xFFFF_C900_0000_0000


def made() -> Small:
    return Small(WANTS, {name: text for name, text in STRUCTS.items() if text}, {})


def chain(small: Small, *links: int) -> list[int]:
    """Nodes, each leading to the next; the last leads to `links`' last."""
    (end,) = links
    nodes = [small.alloc(16, 8) for _ in range(3)]
    for at, after in zip(nodes, [*nodes[1:], end], strict=True):
        small.put(at, after)
    return nodes


def told(gaps: Gaps) -> list[tuple[str, str]]:
    return [(gap.what, gap.reason) for gap in gaps.records()]


def test_heads_of_a_table_with_something_beside_them() -> None:
    small, gaps = made(), Gaps()
    table = small.alloc(3 * 16, 8)
    for bucket in range(3):
        small.put(table + 16 * bucket, 0x100 + bucket)
    assert read_heads(small.kernel(), table, 3, "t", gaps, 16).tolist() == [0x100, 0x101, 0x102]
    assert read_heads(small.kernel(), table, 0, "t", gaps).tolist() == []
    assert told(gaps) == []


def test_a_table_that_is_nowhere_or_has_no_end() -> None:
    small, gaps = made(), Gaps()
    assert read_heads(small.kernel(), WILD, 4, "t", gaps).tolist() == [0, 0, 0, 0]
    assert told(gaps) == [("t", "unreadable")]
    table = small.data((1).to_bytes(8, "little") * 4)
    assert read_heads(small.kernel(), table, 1 << 32, "t", gaps, limit=2).tolist() == [1, 1]
    assert read_heads(small.kernel(), table, 4, "t", gaps, limit=-3).tolist() == []
    assert told(gaps)[1:] == [("t", "bounded"), ("t", "bounded")]


def test_chains_that_end_at_null_and_at_their_own_number() -> None:
    small, gaps = made(), Gaps()
    one, other = chain(small, 0), chain(small, 2 << 1 | 1)
    heads = np.array([one[0], 1 << 1 | 1, other[0], 0], dtype=np.uint64)
    found = walk_chains(small.kernel(), heads, "t", gaps)
    assert found.tolist() == [one[0], other[0], one[1], other[1], one[2], other[2]]
    assert told(gaps) == []
    assert set(walk_chains(small.kernel(), heads[1:3], "t", gaps, 1).tolist()) == set(other)
    assert told(gaps) == []


def test_a_chain_that_ends_in_another_one_is_torn() -> None:
    small, gaps = made(), Gaps()
    nodes = chain(small, 5 << 1 | 1)
    found = walk_chains(small.kernel(), np.array([nodes[0]], dtype=np.uint64), "t", gaps, 0)
    assert found.tolist() == nodes
    assert told(gaps) == [("t", "torn")]


def test_chains_that_meet_run_in_a_circle_or_lead_nowhere() -> None:
    small, gaps = made(), Gaps()
    ring = chain(small, 0)
    small.put(ring[2], ring[0])
    into = chain(small, ring[1])
    lost, user = chain(small, WILD), chain(small, 0x7FFF_0000_1000)
    beyond = chain(small, PAGE_OFFSET + RAM_BYTES)
    heads = np.array([nodes[0] for nodes in (ring, into, lost, user, beyond)], dtype=np.uint64)
    found = walk_chains(small.kernel(calls_limit=400), heads, "t", gaps).tolist()
    assert sorted(found) == sorted(ring + into + lost + user + beyond)
    assert [(gap.detail, gap.count) for gap in gaps.records()] == [
        ("a chain that leads nowhere", 3),
        ("a chain that runs into itself or another", 2),
    ]


def test_a_chain_without_an_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    small, gaps = made(), Gaps()
    nodes = chain(small, 0)
    monkeypatch.setattr(chains, "MAX_CHAIN", 2)
    assert walk_chains(small.kernel(), np.array(nodes[:1], np.uint64), "t", gaps).tolist() == nodes[:2]
    monkeypatch.setattr(chains, "MAX_NODES", 0)
    assert walk_chains(small.kernel(), np.array(nodes[:1], np.uint64), "t", gaps).tolist() == nodes[:1]
    assert told(gaps) == [("t", "bounded"), ("t", "bounded")]


def rhash(small: Small, table: int, gaps: Gaps) -> list[int]:
    return walk_rhashtables(small.kernel(), np.array([table], dtype=np.uint64), "t", gaps).tolist()


def bucket_table(small: Small, *heads: int, **fields: int) -> int:
    table = small.new("bucket_table", 8 * len(heads), size=len(heads), **fields)
    for at, head in enumerate(heads):
        small.put(table + small.profile["bucket_table"].size + 8 * at, head)
    return table


def test_a_hash_table_that_grows_is_both_of_its_tables() -> None:
    small, gaps = made(), Gaps()
    one, other, third = chain(small, 3), chain(small, 1), chain(small, 1)
    after = bucket_table(small, other[0], third[0], 0)
    # One bucket is empty, another one locked.
    table = small.new("rhashtable", tbl=bucket_table(small, 1, one[0] | 1, future_tbl=after))
    assert sorted(rhash(small, table, gaps)) == sorted(one + other + third)
    assert told(gaps) == []


def test_a_hash_table_that_is_nested_or_grows_into_itself() -> None:
    small, gaps = made(), Gaps()
    nested = small.new("rhashtable", tbl=bucket_table(small, 0, nest=3))
    assert rhash(small, nested, gaps) == []
    assert told(gaps) == [("t", "not looked for")]
    nodes = chain(small, 1)
    own = bucket_table(small, nodes[0])
    small.set(own, "bucket_table", future_tbl=own)
    table = small.new("rhashtable", tbl=own)
    assert rhash(small, table, gaps) == nodes
    assert rhash(small, WILD, gaps) == []
