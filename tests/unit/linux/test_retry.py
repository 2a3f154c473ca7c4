from __future__ import annotations

import pytest

from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure, UsageError
from vmon.linux.retry import settled


class Reader:
    """Breaks so many times, each time after a gap of its own."""

    def __init__(self, breaks: int, error: Exception) -> None:
        self.calls = 0
        self._breaks, self._error = breaks, error

    def __call__(self, gaps: Gaps) -> int:
        self.calls += 1
        gaps.add(f"attempt {self.calls}", "torn")
        if self.calls <= self._breaks:
            raise self._error
        return self.calls


@pytest.mark.parametrize("breaks", [0, 1, 3])
def test_gaps_are_those_of_the_attempt_that_went_well(breaks: int) -> None:
    reader, gaps = Reader(breaks, BadStructure("torn")), Gaps()
    gaps.add("before", "bounded")
    assert settled(reader, gaps, attempts=4) == breaks + 1
    assert [gap.what for gap in gaps.records()] == ["before", f"attempt {breaks + 1}"]


def test_the_last_error_is_raised() -> None:
    reader = Reader(9, BadStructure("torn"))
    with pytest.raises(BadStructure, match="torn"):
        settled(reader, Gaps(), attempts=3)
    assert reader.calls == 3


def test_an_error_of_the_caller_is_not_tried_again() -> None:
    reader = Reader(9, UsageError("no"))
    with pytest.raises(UsageError):
        settled(reader, Gaps())
    assert reader.calls == 1
