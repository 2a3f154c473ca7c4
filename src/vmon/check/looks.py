"""A guest that runs makes views differ for a moment: only what still differs after several looks is a finding."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

from vmon.core.coverage import Gaps
from vmon.core.records.finding import FindingRecord

PAUSES_S = (0.03, 0.1, 0.3)
"""Before each look after the first. They grow, for a busy host may leave a CPU of the guest without time in the middle
of a change, for tens of milliseconds."""
LOOKS = 1 + len(PAUSES_S)
Look = Callable[[Gaps], dict[Hashable, FindingRecord]]


def settled(look: Look, gaps: Gaps) -> list[FindingRecord]:
    """What all of LOOKS looks find, as the last saw it; one look where nothing is found.

    A key must not fit another thing that comes to lie where the first was: a task's has its start time.
    """
    found: dict[Hashable, FindingRecord] | None = None
    for attempt in range(LOOKS):
        if attempt:
            time.sleep(PAUSES_S[attempt - 1])
        seen = Gaps()
        now = look(seen)
        found = now if found is None else {key: now[key] for key in found if key in now}
        if not found or attempt == LOOKS - 1:
            # What one look could not see is no gap of the answer when the last one could.
            gaps.add_all(seen.records())
        if not found:
            return []
    return list((found or {}).values())
