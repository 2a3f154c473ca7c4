from __future__ import annotations

import pytest

from tests.unit.linux.small import Small
from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure
from vmon.kernel.profile import Wants
from vmon.linux.hlist import walk_heads

NODE = {"hlist_node": "next:p pprev:p"}
WILD = 0xFFFF_C900_0000_0000


def made() -> tuple[Small, list[int]]:
    """Four heads: below the first three nodes, below the third one."""
    small = Small(Wants(structs={"hlist_node": "next"}), NODE, {"table": 32})
    nodes = [small.new("hlist_node") for _ in range(4)]
    small.put(small.symbol("table"), nodes[0])
    small.put(nodes[0], nodes[1])
    small.put(nodes[1], nodes[2])
    small.put(small.symbol("table") + 16, nodes[3])
    return small, nodes


def walk(small: Small, gaps: Gaps | None = None, count: int = 4, limit: int = 100) -> list[int]:
    found = walk_heads(small.kernel(), Gva(small.symbol("table")), count, "nodes", gaps or Gaps(), limit)
    nodes: list[int] = found.tolist()
    return nodes


def test_nodes_of_all_lists() -> None:
    small, nodes = made()
    assert sorted(walk(small)) == sorted(nodes)
    assert walk(small, count=0) == []


def test_a_list_that_leads_nowhere_is_told_and_the_rest_is_there() -> None:
    small, nodes = made()
    small.put(nodes[1], WILD)
    gaps = Gaps()
    assert sorted(walk(small, gaps)) == sorted([nodes[0], nodes[1], nodes[3]])
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [("nodes", "unreadable")]


def test_lists_that_are_none() -> None:
    small, nodes = made()
    small.put(nodes[2], nodes[0])
    with pytest.raises(BadStructure, match="runs into itself"):
        walk(small)
    small.put(nodes[2], nodes[3])
    with pytest.raises(BadStructure, match="runs into itself"):
        walk(small)
    small, nodes = made()
    with pytest.raises(BadStructure, match="more than 3 entries"):
        walk(small, limit=3)
    with pytest.raises(BadStructure, match="lists"):
        walk(small, count=1 << 40)
