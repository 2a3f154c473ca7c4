"""How bad a record is, by one scale of five that every format spells its own way.

Pure. A detection is as severe as its rule; an event is informational, one that was refused low; of the watching itself,
a probe that was tampered with is high.
"""

from __future__ import annotations

from dataclasses import dataclass

from vmon.core.detection import Detection, Severity
from vmon.core.events import Event
from vmon.core.told import Told

REFUSED = ("denied", "killed")


@dataclass(frozen=True, slots=True)
class Spelled:
    """One severity in each scale."""

    ecs: int
    ocsf: int
    ocsf_name: str
    falco: str
    cef: int
    syslog: int


SPELLED: dict[Severity, Spelled] = {
    "informational": Spelled(0, 1, "Informational", "Informational", 1, 6),
    "low": Spelled(21, 2, "Low", "Notice", 3, 5),
    "medium": Spelled(47, 3, "Medium", "Warning", 5, 4),
    "high": Spelled(73, 4, "High", "Error", 8, 3),
    "critical": Spelled(99, 5, "Critical", "Critical", 10, 2),
}
"""ECS: the scores of Elastic's own rules; syslog: RFC 5424; CEF: 0 to 10."""


def severity(record: Told) -> Severity:
    """Of one record."""
    if isinstance(record, Detection):
        return record.rule.severity
    if isinstance(record, Event):
        return "low" if record.verdict in REFUSED else "informational"
    return {"vmon.tampered": "high", "vmon.dropped": "medium", "vmon.lost": "medium"}.get(record.event, "low")  # type: ignore[return-value]


def spelled(record: Told) -> Spelled:
    """The same in each scale."""
    return SPELLED[severity(record)]
