"""What a queue hands its batches to, and how it is told what became of them. Types alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Undelivered(Exception):
    """The other end could not take all of a batch now; the rest is tried again."""

    def __init__(self, said: str, delivered: int = 0, wait_s: float | None = None) -> None:
        super().__init__(said)
        self.delivered = delivered
        """How many records of the batch did arrive, from its beginning."""
        self.wait_s = wait_s
        """How long the other end asks to be left alone."""


class Refused(Exception):
    """The other end will never take this: the rest of the batch, or its next record alone, is dropped."""

    def __init__(self, said: str, delivered: int = 0, dropped: int | None = None) -> None:
        super().__init__(said)
        self.delivered = delivered
        self.dropped = dropped
        """How many records after these are given up; None for all of them."""


class Writer(Protocol):
    """One place that records go to. Called from one thread; may wait."""

    batch_records: int
    """So many records at a time, at most."""
    linger_s: float
    """So long is waited for a batch to fill."""
    note: str
    """What is to be told at the end; empty for nothing."""

    def write(self, batch: Sequence[bytes]) -> None:
        """Hand records over. Undelivered or Refused where not all of them arrived."""

    def idle(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Let go of the place."""
