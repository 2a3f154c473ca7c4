"""A hash table of the kernel is an array of heads; from each hangs a list that ends with null.

Reads hlist_head, hlist_node: all lists at once, one gather a step. A hostile guest can bend a list into a loop or to
nowhere: nodes are bounded and met once, and what leads nowhere is told. Source: include/linux/list.h.
"""

from __future__ import annotations

import numpy as np

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure
from vmon.kernel.columns import Column
from vmon.linux.kernel import Kernel

MAX_NODES = 1 << 20
MAX_HEADS = 1 << 20


def walk_heads(
    kernel: Kernel, heads: Gva, count: int, what: str, gaps: Gaps, limit: int = MAX_NODES
) -> Column:
    """Addresses of all hlist_nodes below `count` heads at `heads`, the first of each list first.

    A node that can't be read is a gap in `what`. BadStructure where a list does not end, or beyond `limit`.
    """
    if count > MAX_HEADS:
        raise BadStructure(f"a table of {count:,} lists", field=what, address=heads)
    level: Column = np.frombuffer(kernel.memory.read(heads, 8 * count), dtype="<u8").astype(np.uint64)
    found: list[Column] = []
    seen: set[int] = set()
    while (level := level[level != 0]).size:
        mapped = kernel.memory.mapped(level)
        if not mapped.all():
            gaps.add(what, "unreadable", "a list that leads nowhere", int((~mapped).sum()))
            level = level[mapped]
        nodes = level.tolist()
        before = len(seen)
        seen.update(nodes)
        if len(seen) != before + len(nodes):
            raise BadStructure("a list that runs into itself", field=what, address=heads)
        if len(seen) > limit:
            raise BadStructure(f"lists of more than {limit:,} entries", field=what, address=heads)
        found.append(level)
        # hlist_node.next is its first word.
        level = kernel.memory.gather(level, 8).view("<u8").reshape(-1)
    return np.concatenate(found) if found else np.zeros(0, dtype=np.uint64)


def walk_hlist(kernel: Kernel, head: Gva, what: str, limit: int) -> list[int]:
    """The nodes of one list, read one by one. BadStructure beyond `limit`, and where it is a loop."""
    u64 = kernel.memory.u64
    found: list[int] = []
    at = u64(head)
    mark, next_mark = 0, 8
    while at:
        if at == mark:
            raise BadStructure("a list that runs into itself", field=what, address=at)
        found.append(at)
        if len(found) == next_mark:
            mark, next_mark = at, 2 * next_mark
        if len(found) > limit:
            raise BadStructure(f"a list of more than {limit:,} entries", field=what, address=head)
        at = u64(Gva(at))
    return found
