from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tests.unit.linux.small import Small
from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure
from vmon.linux.rbtree import PARENT_WANTS, WANTS, are_linked, walk_tree

STRUCTS = {"rb_root": "rb_node:p", "rb_node": "__rb_parent_color:u64 rb_right:p rb_left:p"}
WILD = 0xFFFF_C900_0000_0000


def made(count: int) -> tuple[Small, list[int]]:
    """A balanced tree of so many nodes, in order."""
    small = Small(WANTS | PARENT_WANTS, STRUCTS, {"tree": 8})
    nodes = [small.new("rb_node") for _ in range(count)]

    def plant(low: int, high: int) -> int:
        if low >= high:
            return 0
        middle = (low + high) // 2
        small.set(nodes[middle], "rb_node", rb_left=plant(low, middle), rb_right=plant(middle + 1, high))
        return nodes[middle]

    small.put(small.symbol("tree"), plant(0, count))
    return small, nodes


def walk(small: Small, gaps: Gaps | None = None, limit: int = 1000) -> list[int]:
    return walk_tree(small.kernel(), Gva(small.symbol("tree")), "tree", gaps or Gaps(), limit)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 100])
def test_nodes_come_in_order(count: int) -> None:
    small, nodes = made(count)
    gaps = Gaps()
    assert walk(small, gaps) == nodes
    assert gaps.records() == []


def test_a_node_that_leads_nowhere_is_told_and_the_rest_is_there() -> None:
    small, nodes = made(3)
    small.set(nodes[1], "rb_node", rb_left=WILD)
    gaps = Gaps()
    assert walk(small, gaps) == nodes[1:]
    assert [(gap.what, gap.reason, gap.count) for gap in gaps.records()] == [("tree", "unreadable", 1)]
    small.put(small.symbol("tree"), WILD)
    assert walk(small, gaps) == []


def test_trees_that_are_none() -> None:
    small, nodes = made(7)
    small.set(nodes[0], "rb_node", rb_left=nodes[3])
    with pytest.raises(BadStructure, match="runs into itself"):
        walk(small)
    small.set(nodes[0], "rb_node", rb_left=nodes[6])
    with pytest.raises(BadStructure, match="runs into itself"):
        walk(small)
    small, nodes = made(7)
    with pytest.raises(BadStructure, match="more than 6 nodes"):
        walk(small, limit=6)
    small, nodes = made(100)
    for node, following in pairwise(nodes):
        small.set(node, "rb_node", rb_left=0, rb_right=following)
    small.put(small.symbol("tree"), nodes[0])
    with pytest.raises(BadStructure, match="runs into itself"):
        walk(small)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_who_is_linked(count: int) -> None:
    small, nodes = made(count)
    root = Gva(small.symbol("tree"))

    def linked() -> list[bool]:
        return are_linked(small.kernel(), root, np.array(nodes, dtype=np.uint64)).tolist()

    pairs = small.kernel().read("rb_node", "rb_left rb_right", np.array(nodes, dtype=np.uint64))
    for parent, left, right in zip(nodes, pairs["rb_left"].tolist(), pairs["rb_right"].tolist(), strict=True):
        for child in (left, right):
            if child:
                small.set(child, "rb_node", __rb_parent_color=parent | 1)
    assert linked() == [True] * count
    small.set(nodes[0], "rb_node", __rb_parent_color=WILD)
    assert linked() == [False, *[True] * (count - 1)]
    small.put(root, 0)
    assert sum(linked()) == max(count - 2, 0), "the topmost is in no tree any more"
