from __future__ import annotations

import msgspec

from tests.unit.core.test_ecs import event
from vmon.core.detection import Detection, RuleInfo


def test_what_goes_without_saying_is_not_written() -> None:
    found = Detection(rule=RuleInfo(title="a shell"), event=event("process.fork"), verb="log")
    written = msgspec.to_builtins(found)
    assert set(written) == {"rule", "event", "verb"}
    assert written["rule"] == {"title": "a shell"}
    assert msgspec.convert(written, Detection) == found
