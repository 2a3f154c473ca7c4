from __future__ import annotations

from tests.unit.export.told import DETECTIONS, NOTICES, event
from vmon.export.severity import SPELLED, severity, spelled


def test_of_each() -> None:
    assert severity(event()) == "informational"
    assert severity(event(verdict="killed")) == "low"
    assert severity(DETECTIONS[0]) == "high"
    assert [severity(notice) for notice in NOTICES] == ["low", "high"]
    assert spelled(DETECTIONS[0]).syslog == 3


def test_each_scale_rises() -> None:
    for name in ("ecs", "ocsf", "cef"):
        values = [getattr(found, name) for found in SPELLED.values()]
        assert values == sorted(values)
    falling = [found.syslog for found in SPELLED.values()]
    assert falling == sorted(falling, reverse=True)
