"""The ring: the probe writes records of whole slots, the host takes them as arrays and says how far it has come.

Reads the ring and writes `tail` in the probe's state; the guest goes on. The guest can write the ring as it likes: a
record counts only where its sequence number is the one that is due, and its lengths are cut to its slots.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vmon.probe.abi import Abi
from vmon.probe.window import Window


@dataclass(frozen=True, slots=True)
class Batch:
    """Records as they lie in the ring."""

    data: bytes
    """All slots, oldest first."""
    starts: NDArray[np.int64]
    """Slot at which each record starts."""
    rows: NDArray[np.void]
    """The fixed part of each record, as struct vmon_record."""

    def __len__(self) -> int:
        return len(self.starts)


class Ring:
    """The host's end."""

    def __init__(self, abi: Abi, window: Window, slots: int) -> None:
        self._abi = abi
        self._window = window
        self.slots = slots
        self._slot_bytes = abi.sizes["SLOT"]
        self._dtype = abi.dtype("record", self._slot_bytes)
        self._head_at, self._tail_at = (
            abi.sizes["STATE_AT"] + abi.offset("state", name) for name in ("head", "tail")
        )
        self._tail = self._u64(self._tail_at)
        self._nothing = Batch(b"", np.zeros(0, np.int64), np.zeros(0, self._dtype))

    def waiting(self) -> bool:
        """Whether there may be anything to take; the cheapest look there is."""
        return self._u64(self._head_at) != self._tail

    def _u64(self, at: int) -> int:
        return int.from_bytes(self._window.read(at, 8), "little")

    def take(self) -> Batch:
        """Everything that is whole by now; none twice."""
        head = self._u64(self._head_at)
        if head == self._tail:
            return self._nothing
        # A head that lies is no more than a full ring.
        count = min(max(head - self._tail, 0), self.slots)
        data = self._slots_from(self._tail, count)
        rows = np.frombuffer(data, dtype=self._dtype)
        due = rows["seq"] == np.arange(self._tail + 1, self._tail + 1 + count, dtype=np.uint64)
        sizes = rows["slots"].tolist()
        whole = due.tolist()
        starts = []
        at = 0
        while at < count and whole[at] and 0 < sizes[at] <= count - at:
            starts.append(at)
            at += sizes[at]
        if at:
            self._tail += at
            self._window.write(self._tail_at, self._tail.to_bytes(8, "little"))
        chosen = np.array(starts, dtype=np.int64)
        chosen = chosen[rows["kind"][chosen] != 0]
        return Batch(data, chosen, rows[chosen])

    def _slots_from(self, first: int, count: int) -> bytes:
        base, size = self._abi.sizes["RING_AT"], self._slot_bytes
        start = first % self.slots
        upto = min(count, self.slots - start)
        data = self._window.read(base + start * size, upto * size)
        return data + self._window.read(base, (count - upto) * size)
