"""An xarray is a tree of nodes of 64 slots: a number leads to an entry, and one entry may stand for 2^order numbers.

An idr and a radix tree are the same thing under other names. Reads xarray, xa_node, a level of the tree in one gather.
A hostile guest can make nodes that hold each other or claim any shift: a level is one step lower than the one above it,
no node counts twice, and nodes and entries are bounded. When the guest stores meanwhile, an entry can be missed; a
reader that hands over `torn` is told of nodes that were freed and used again, for they do not name their parent.
Sources: include/linux/xarray.h, lib/xarray.c, include/linux/idr.h.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure
from vmon.kernel.columns import Column, unique
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel

WANTS = Wants(
    structs={"xarray": "xa_head", "xa_node": "shift offset parent slots", "idr": "idr_rt"},
)
MAX_ENTRIES = 16 << 20
MAX_NODES = MAX_ENTRIES // 32
INTERNAL, VALUE = 0b10, 0b01
LOWEST_NODE = 4096
"""Internal entries below it are siblings, retries and zeros."""
MAX_SHIFT = 60


@dataclass(frozen=True, slots=True)
class Entries:
    """What an xarray holds, as columns, in rising order of index."""

    indexes: Column
    """The first number that the entry stands for."""
    values: Column
    """Pointers; numbers that are stored instead of one (bit 0 set) are given as they are."""
    orders: NDArray[np.uint8]
    """log2 of the numbers that an entry stands for: 0 for most, more for a large folio."""

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Entries:
        """Some of them."""
        return Entries(self.indexes[rows], self.values[rows], self.orders[rows])


def find_entries(
    kernel: Kernel,
    xarray: Gva,
    limit: int = MAX_ENTRIES,
    *,
    torn: Gaps | None = None,
    span: tuple[int, int] | None = None,
) -> Entries:
    """Every entry of the xarray at `xarray`, numbers too; with `span`, those that may touch numbers span[0] to span[1].

    BadStructure for a tree that can't be, or beyond `limit`. With `torn`, nodes that do not fit (the guest freed them
    meanwhile) are left out instead, and counted there. NotMapped where the xarray itself can't be read.
    """
    head = kernel.memory.u64(Gva(xarray + kernel.offset("xarray", "xa_head")))
    if head & 0b11 == INTERNAL and head > LOWEST_NODE:
        return _Walk(kernel, xarray, limit, torn, span).from_root(head - INTERNAL)
    # A lone entry at 0 has no node. Marks stand for nothing.
    alone = np.array([head] if head and head & 0b11 != INTERNAL else [], dtype=np.uint64)
    return Entries(np.zeros_like(alone), alone, np.zeros(alone.size, dtype=np.uint8))


def find_idr_entries(kernel: Kernel, idr: Gva, limit: int = MAX_ENTRIES) -> Entries:
    """The same of an idr: its tree is its first member. Numbers count from idr_base, which is 0 or 1."""
    return find_entries(kernel, Gva(idr + kernel.offset("idr", "idr_rt")), limit)


class _Walk:
    """One walk, level by level from the root."""

    def __init__(
        self, kernel: Kernel, xarray: Gva, limit: int, torn: Gaps | None, span: tuple[int, int] | None
    ) -> None:
        self._kernel, self._xarray, self._limit, self._torn, self._span = kernel, xarray, limit, torn, span
        self._fan = kernel.profile["xa_node"]["slots"].count
        self._step = self._fan.bit_length() - 1
        none = np.zeros(0, np.uint64)
        self._found = [Entries(none, none, np.zeros(0, np.uint8))]

    def from_root(self, root: int) -> Entries:
        nodes, bases = np.array([root], np.uint64), np.zeros(1, np.uint64)
        parents, offsets = np.zeros(1, np.uint64), np.zeros(1, np.uint64)
        shift = int(self._kernel.read_one("xa_node", "shift", root)["shift"][0])
        if shift > MAX_SHIFT or shift % self._step:
            raise BadStructure(f"an xarray node of shift {shift}", field="xa_node.shift", address=root)
        read = 0
        while nodes.size:
            read += nodes.size
            if read > MAX_NODES:
                raise BadStructure(f"more than {MAX_NODES:,} nodes", field="xarray", address=self._xarray)
            columns = self._kernel.read("xa_node", "shift offset parent slots", nodes)
            fits = columns["shift"] == np.uint64(shift)
            if self._torn is None:
                self._require(fits, nodes)
            else:
                # A node that names its parent and its slot there counts once. The root's slot is what it was before.
                fits &= columns["parent"] == parents
                if read > 1:
                    fits &= columns["offset"] == offsets
                if not fits.all():
                    self._torn.add("xarray", "torn", "nodes of a tree that changed", int((~fits).sum()))
            slots = columns.words("slots", self._fan)[fits]
            nodes, bases, parents, offsets = self._level(nodes[fits], bases[fits], slots, shift)
            if sum(part.indexes.size for part in self._found) > self._limit:
                raise BadStructure(f"more than {self._limit:,} entries", field="xarray", address=self._xarray)
            if shift == 0 and nodes.size:
                self._below_the_last(nodes)
                break
            shift -= self._step
        whole = Entries(
            *(
                np.concatenate(column)
                for column in zip(
                    *((part.indexes, part.values, part.orders) for part in self._found), strict=True
                )
            )
        )
        return whole[np.argsort(whole.indexes, kind="stable")]

    @staticmethod
    def _require(fits: NDArray[np.bool_], nodes: Column) -> None:
        """That all nodes of a level are of that level, and none is there twice."""
        if not fits.all() or unique(nodes).size != nodes.size:
            wrong = (
                "an xarray that runs into itself" if fits.all() else "an xarray node of an impossible level"
            )
            raise BadStructure(wrong, field="xa_node.slots", address=int(nodes[0]))

    def _below_the_last(self, nodes: Column) -> None:
        if self._torn is None:
            raise BadStructure(
                "an xarray node below the last level", field="xa_node.slots", address=int(nodes[0])
            )
        self._torn.add("xarray", "torn", "nodes of a tree that changed", nodes.size)

    def _level(
        self, nodes: Column, bases: Column, slots: NDArray[np.uint64], shift: int
    ) -> tuple[Column, Column, Column, Column]:
        """Keep the entries of one level's nodes; the nodes of the next: address, first number, parent, slot."""
        indexes = bases[:, None] + (np.arange(self._fan, dtype=np.uint64) << np.uint64(shift))
        internal = (slots & np.uint64(0b11)) == INTERNAL
        is_node = internal & (slots > LOWEST_NODE)
        wanted = (slots != 0) & ~internal
        if self._span is not None:
            is_node &= self._within(indexes, shift)
            # An entry of a large order may begin before the span, in the same node at the most.
            wanted &= self._within(bases, shift + self._step)[:, None]
        row, slot = np.nonzero(wanted)
        if row.size:
            orders = self._orders(slots, row, slot, shift)
            self._found.append(Entries(indexes[row, slot], slots[row, slot], orders))
        row, slot = np.nonzero(is_node)
        below = slots[row, slot] - np.uint64(INTERNAL)
        return below, indexes[row, slot], nodes[row], slot.astype(np.uint64)

    def _within(self, firsts: NDArray[np.uint64], shift: int) -> NDArray[np.bool_]:
        """Whether any of the 2^shift numbers from each of these on lies in the span."""
        assert self._span is not None
        low, high = (np.uint64(limit) for limit in self._span)
        reach = np.uint64(min(1 << shift, 1 << 64) - 1)
        return (firsts <= high) & ((firsts >= low) | (low - firsts <= reach))

    def _orders(
        self, slots: NDArray[np.uint64], row: NDArray[np.intp], slot: NDArray[np.intp], shift: int
    ) -> NDArray[np.uint8]:
        """The order of each entry: the node's shift, and more where siblings behind it name its slot."""
        siblings = ((slots & np.uint64(0b11)) == INTERNAL) & (slots < np.uint64(self._fan << 2))
        orders = np.full(row.size, shift, np.uint8)
        if siblings.any():
            node, _ = at = np.nonzero(siblings)
            counts = np.zeros(slots.shape, np.int64)
            np.add.at(counts, (node, (slots[at] >> np.uint64(2)).astype(np.intp)), 1)
            orders += np.log2(counts[row, slot] + 1).astype(np.uint8)
        return orders
