"""A red-black tree is of nodes that lie in what they sort; the tree's root points to the topmost.

Reads rb_root, rb_node: one gather a level, not one read a node. A hostile guest can bend the tree: nodes are counted,
and each is met once. When the guest turns the tree meanwhile, a part of it can be missed.
Sources: include/linux/rbtree_types.h, lib/rbtree.c.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure
from vmon.kernel.columns import Column
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel

WANTS = Wants(structs={"rb_root": "rb_node", "rb_node": "rb_left rb_right"})
PARENT_WANTS = Wants(structs={"rb_node": "__rb_parent_color"})
"""Of `are_linked`."""
COLOR_BITS = 3
MAX_NODES = 1 << 20
MAX_DEPTH = 64
"""A tree of 2^31 nodes is no deeper."""


def walk_tree(kernel: Kernel, root: Gva, what: str, gaps: Gaps, limit: int = MAX_NODES) -> list[int]:
    """Addresses of the rb_nodes of the tree whose struct rb_root is at `root`, in the tree's own order.

    A node that can't be read is a gap in `what`. BadStructure where the tree is no tree, or beyond `limit`.
    """
    top = kernel.memory.u64(Gva(root + kernel.offset("rb_root", "rb_node")))
    children: dict[int, tuple[int, int]] = {}
    level = [top] if top else []
    depth = 0
    while level:
        gvas = np.array(level, dtype=np.uint64)
        mapped = kernel.memory.mapped(gvas)
        if not mapped.all():
            gaps.add(what, "unreadable", "a node of its tree", int((~mapped).sum()))
            gvas = gvas[mapped]
        columns = kernel.read("rb_node", "rb_left rb_right", gvas)
        pairs = list(zip(columns["rb_left"].tolist(), columns["rb_right"].tolist(), strict=True))
        children.update(zip(gvas.tolist(), pairs, strict=True))
        level = [child for pair in pairs for child in pair if child]
        depth += 1
        again = len(set(level)) != len(level) or not children.keys().isdisjoint(level)
        if again or depth > MAX_DEPTH:
            raise BadStructure("a tree that runs into itself", field=what, address=root)
        if len(children) + len(level) > limit:
            raise BadStructure(f"a tree of more than {limit:,} nodes", field=what, address=root)
    found: list[int] = []
    above: list[int] = []
    at = top
    while at or above:
        if at in children:
            above.append(at)
            at = children[at][0]
        elif above:
            found.append(above.pop())
            at = children[found[-1]][1]
        else:
            break
    return found


def are_linked(kernel: Kernel, root: Gva, nodes: Column) -> NDArray[np.bool_]:
    """Which of these nodes are in the tree still: what they name as their parent, or the root, leads to them."""
    words = kernel.read("rb_node", "__rb_parent_color", nodes)["__rb_parent_color"]
    parents = words & ~np.uint64(COLOR_BITS)
    children = kernel.read("rb_node", "rb_left rb_right", parents)
    top = kernel.memory.u64(Gva(root + kernel.offset("rb_root", "rb_node")))
    below = (children["rb_left"] == nodes) | (children["rb_right"] == nodes)
    linked: NDArray[np.bool_] = np.where(parents == 0, nodes == np.uint64(top), below)
    return linked
