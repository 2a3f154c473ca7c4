"""When an event happened and what it is called are the same in every format: an instant, and an id that is used once.

Pure. The guest makes up both clocks that the time is made of, and can put an event at any moment: what lies outside the
years 1970 to 2099 is moved to their edge, for collectors of syslog take no other year for one. The id is made of the
target, the boot, the time and the place in the ring, which begins anew with each probe.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from vmon.core.detection import Detection
from vmon.core.ecs import Origin
from vmon.core.events import Event
from vmon.core.told import Told

LAST_NS = 4_102_444_799 * 10**9
"""The end of the year 2099."""


def moment_ns(record: Told, origin: Origin) -> int:
    """Nanoseconds since 1970: an event's by the guest's clock, a notice's by the host's."""
    event = record.event if isinstance(record, Detection) else record
    since = origin.boot_time_ns + event.time_ns if isinstance(event, Event) else event.noticed_ns
    return min(max(since, 0), LAST_NS)


def iso(moment: int, digits: int = 9) -> str:
    """RFC 3339 in UTC, with so many digits of the second."""
    seconds, rest = divmod(moment, 10**9)
    return f"{_second(seconds)}.{rest // 10 ** (9 - digits):0{digits}}Z"


@lru_cache(8)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def uid(record: Told, origin: Origin) -> str:
    """Names one record for ever, so that one that is delivered twice is known for one."""
    if isinstance(record, Detection):
        return f"{uid(record.event, origin)}/{record.rule.id or record.rule.title}"
    if isinstance(record, Event):
        return f"{origin.target}/{origin.boot_time_ns}/{record.time_ns}/{record.sequence}"
    return f"{origin.target}/{record.event}/{record.noticed_ns}"
