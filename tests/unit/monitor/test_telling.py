from __future__ import annotations

from vmon.core.detection import RuleInfo
from vmon.monitor.telling import Limits
from vmon.policy.rule import Rate


def test_what_is_too_often_is_counted() -> None:
    now = [0.0]
    limits = Limits(lambda: now[0])
    rule, rate = RuleInfo(title="x"), Rate(2, 60.0)
    assert [limits.ask(rule, rate) for _ in range(5)] == [0, 0, None, None, None]
    assert limits.left() == [("x", 3)]
    now[0] = 61.0
    assert limits.ask(rule, rate) == 3
    assert limits.left() == [("x", 0)]
    assert limits.ask(RuleInfo(title="y"), None) == 0
    # Read again, it stands in another line.
    assert limits.ask(RuleInfo(title="x", source="p:9"), rate) == 0
    assert limits.ask(rule, rate) is None
