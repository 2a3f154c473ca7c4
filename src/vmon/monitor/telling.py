"""A rule is told of no more often than it says; what is not told is counted, and said with the next that is.

Pure, but for the clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from vmon.core.detection import RuleInfo
from vmon.policy.rule import Rate


class _Told(msgspec.Struct):
    at: deque[float]
    suppressed: int = 0


class Limits:
    """Of all rules of a policy."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # A rule stays the same where the file is read again, and its line is another one.
        self._told: dict[tuple[str, str], _Told] = {}

    def ask(self, rule: RuleInfo, rate: Rate | None) -> int | None:
        """How many were not told before this one, which is; None: this one is not told either."""
        if rate is None:
            return 0
        told = self._told.setdefault((rule.id, rule.title), _Told(deque()))
        now = self._clock()
        while told.at and told.at[0] <= now - rate.seconds:
            told.at.popleft()
        if len(told.at) >= rate.count:
            told.suppressed += 1
            return None
        told.at.append(now)
        suppressed, told.suppressed = told.suppressed, 0
        return suppressed

    def left(self) -> list[tuple[str, int]]:
        """Titles of rules, and how many of each were not told since the last that was."""
        return [(title, told.suppressed) for (_, title), told in self._told.items()]
