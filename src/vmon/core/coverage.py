"""What an answer could not see, beside the answer: every list that is read from a guest carries it.

Pure. A gap says what is missing, why, and how often; an empty coverage means that nothing was found missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, TypeVar

import msgspec

T = TypeVar("T")
Reason = Literal[
    "not resident", "swapped", "torn", "bounded", "unreadable", "not on this kernel", "not looked for"
]
"""not resident: the guest never read it in, or dropped it; swapped: it is on the guest's swap; torn: the guest changed
it while it was read; bounded: vmon's own limit cut it; unreadable: a pointer that leads nowhere, or a number that can't
be; not on this kernel: the kernel has no such thing, or no type that tells its layout; not looked for: vmon doesn't."""


class GapRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that an answer lacks."""

    what: str
    """A field of the records, or a view."""
    reason: Reason
    count: int
    """Records or pages that it is missing from; 0 where that can't be told."""
    detail: str
    """In a few words; empty where the reason says it all."""


class Gaps:
    """Collects what a reader could not see; the same thing for the same reason is counted."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, Reason, str], int] = {}

    def add(self, what: str, reason: Reason, detail: str = "", count: int = 1) -> None:
        """Something is missing `count` times more."""
        key = (what, reason, detail)
        self._found[key] = self._found.get(key, 0) + count

    def add_all(self, coverage: Iterable[GapRecord]) -> None:
        """What another answer lacks, as if it had been found here."""
        for gap in coverage:
            self.add(gap.what, gap.reason, gap.detail, gap.count)

    def records(self) -> list[GapRecord]:
        """All that was added, in the order in which each was first."""
        return [
            GapRecord(what=what, reason=reason, count=count, detail=detail)
            for (what, reason, detail), count in self._found.items()
        ]


class Answer(list[T]):
    """A list read from a guest, with what could not be read of it."""

    def __init__(
        self,
        items: Iterable[T] = (),
        coverage: Iterable[GapRecord] | Gaps | Callable[[], list[GapRecord]] = (),
    ) -> None:
        super().__init__(items)
        if isinstance(coverage, Gaps):
            coverage = coverage.records()
        self._coverage = coverage if callable(coverage) else list(coverage)

    @property
    def coverage(self) -> list[GapRecord]:
        """What is missing; empty when nothing is. Of what is read when it is first asked for: what is so far."""
        return self._coverage() if callable(self._coverage) else self._coverage

    def _repr_html_(self) -> str:
        """What a notebook shows: a table, and below it what is missing."""
        from vmon.core.html import table  # noqa: PLC0415 - outside of notebooks nobody needs it

        return table(self, notes=[f"not seen: {said(gap)}" for gap in self.coverage])


def said(gap: GapRecord) -> str:
    """A gap in words: `cmdline: not resident in 3`."""
    times = f" in {gap.count:,}" if gap.count > 1 else ""
    return f"{gap.what}: {gap.reason}{times}" + (f" ({gap.detail})" if gap.detail else "")
