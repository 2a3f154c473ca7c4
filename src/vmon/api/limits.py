"""How much one client may ask: a bucket that fills as time passes, and a bound on how many clients are remembered.

Pure, but for the clock. A client that fills the table with made-up addresses makes vmon forget the oldest, no more.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

MAX_CLIENTS = 4096


class Limit:
    """So many at once, and so many a second."""

    def __init__(self, burst: float, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._per_second = per_second
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, client: str) -> int:
        """Seconds until the client may ask again; 0 when it may now. Takes nothing."""
        left = self._now(client)
        return 0 if left >= 1 else math.ceil((1 - left) / self._per_second)

    def take(self, client: str) -> int:
        """As wait_s; where it is 0, one is taken."""
        left = self._now(client)
        if left < 1:
            return math.ceil((1 - left) / self._per_second)
        self._left[client] = left - 1, self._clock()
        self._left.move_to_end(client)
        while len(self._left) > MAX_CLIENTS:
            self._left.popitem(last=False)
        return 0

    def _now(self, client: str) -> float:
        left, at = self._left.get(client, (self._burst, 0.0))
        return min(self._burst, left + (self._clock() - at) * self._per_second)
