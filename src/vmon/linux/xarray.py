"""An xarray is a tree of nodes of 64 slots; an idr and a radix tree are the same thing under other names.

Reads xarray, xa_node. A hostile guest can make nodes that hold each other or claim any shift: a level must shift less
than the one above it, no node is read twice, and the number of entries is bounded. When the guest stores meanwhile, an
entry can be missed. Sources: include/linux/xarray.h, lib/xarray.c, include/linux/idr.h.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vmon.core.address import Gva
from vmon.core.errors import BadStructure
from vmon.kernel.columns import Column
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel

WANTS = Wants(
    structs={"xarray": "xa_head", "xa_node": "shift slots", "idr": "idr_rt"},
)
MAX_ENTRIES = 16 << 20
LOWEST_NODE = 4096
"""Internal entries below it are siblings, retries and zeros."""
INTERNAL = 2
MAX_SHIFT = 60


@dataclass(frozen=True, slots=True)
class Entries:
    """What an xarray holds, as columns."""

    indexes: Column
    values: Column
    """Pointers; numbers that are stored instead of one (bit 0 set) are given as they are."""
    orders: NDArray[np.uint8]
    """log2 of the indexes that an entry covers: 0 for most, more for a large folio."""


def find_entries(kernel: Kernel, xarray: Gva, limit: int = MAX_ENTRIES) -> Entries:
    """Every entry in the order of its index; numbers too. BadStructure for a tree that can't be, or beyond `limit`."""
    head = kernel.memory.u64(Gva(xarray + kernel.offset("xarray", "xa_head")))
    if not _is_node(head):
        alone = np.array([head] if head and head & 3 != INTERNAL else [], dtype=np.uint64)
        return Entries(np.zeros_like(alone), alone, np.zeros(alone.size, dtype=np.uint8))
    found: list[tuple[Column, Column, NDArray[np.uint8]]] = []
    nodes, bases = np.array([head - INTERNAL], dtype=np.uint64), np.zeros(1, dtype=np.uint64)
    above = MAX_SHIFT + 1
    seen = 0
    while nodes.size:
        seen += nodes.size
        if np.unique(nodes).size != nodes.size or seen > limit:
            raise BadStructure(
                "an xarray that runs into itself", field="xa_node.slots", address=int(nodes[0])
            )
        nodes, bases, above = _one_level(kernel, nodes, bases, above, found)
        if sum(part[0].size for part in found) > limit:
            raise BadStructure(f"more than {limit:,} entries", field="xarray", address=xarray)
    found.append((np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0, np.uint8)))
    indexes, values, orders = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(indexes, kind="stable")
    return Entries(indexes[order], values[order], orders[order])


def find_idr_entries(kernel: Kernel, idr: Gva, limit: int = MAX_ENTRIES) -> Entries:
    """The same of an idr: its tree is its first member. Numbers count from idr_base, which is 0 or 1."""
    return find_entries(kernel, Gva(idr + kernel.offset("idr", "idr_rt")), limit)


def _is_node(entry: int) -> bool:
    return entry & 3 == INTERNAL and entry > LOWEST_NODE


def _one_level(
    kernel: Kernel,
    nodes: Column,
    bases: Column,
    above: int,
    found: list[tuple[Column, Column, NDArray[np.uint8]]],
) -> tuple[Column, Column, int]:
    """Add the entries of these nodes, which are all of one level; give the nodes below, and their level's shift."""
    columns = kernel.read("xa_node", "shift slots", nodes)
    shifts = columns["shift"]
    shift = int(shifts[0])
    if (shifts != np.uint64(shift)).any() or shift >= above:
        raise BadStructure(
            "an xarray node of an impossible level", field="xa_node.shift", address=int(nodes[0])
        )
    slots = columns.words("slots", kernel.profile["xa_node"]["slots"].count)
    per_node = slots.shape[1]
    indexes = bases[:, None] + (np.arange(per_node, dtype=np.uint64) << np.uint64(shift))
    internal = (slots & np.uint64(3)) == np.uint64(INTERNAL)
    is_node = internal & (slots > np.uint64(LOWEST_NODE))
    entry = ~internal & (slots != 0)
    if entry.any():
        orders = np.full(slots.shape, shift, dtype=np.uint8)
        siblings = internal & ~is_node & (slots < np.uint64(per_node << 2))
        if siblings.any():
            orders += _widths(siblings)
        found.append((indexes[entry], slots[entry], orders[entry]))
    if is_node.any() and shift == 0:
        raise BadStructure(
            "an xarray node below the last level", field="xa_node.slots", address=int(nodes[0])
        )
    return slots[is_node] - np.uint64(INTERNAL), indexes[is_node], shift


def _widths(siblings: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """log2 of the slots that each entry covers, by the siblings that follow it."""
    following = np.zeros(siblings.shape, dtype=np.int64)
    for column in range(siblings.shape[1] - 2, -1, -1):
        following[:, column] = np.where(siblings[:, column + 1], following[:, column + 1] + 1, 0)
    widths: NDArray[np.uint8] = np.floor(np.log2(following + 1)).astype(np.uint8)
    return widths
