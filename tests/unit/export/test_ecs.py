from __future__ import annotations

import ipaddress
import json
import re
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings

from tests.unit.export.ecs_fields import EXPECTED, FIELDS, KINDS, NOT_REUSED, OS_TYPES, OUTCOMES, TYPES
from tests.unit.export.told import (
    DETECTIONS,
    NOTICES,
    ORIGIN,
    RECORDS,
    event,
    hostile_origins,
    hostile_records,
    named,
)
from vmon.core.ecs import Origin
from vmon.core.told import Told
from vmon.export.ecs import LONG, attack_ids, encode

DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")


def flat(found: dict[str, Any], before: str = "") -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for name, value in found.items():
        whole |= flat(value, f"{before}{name}.") if isinstance(value, dict) else {before + name: value}
    return whole


def fits(value: object, kind: str) -> bool:
    """As a mapping of Elasticsearch would take it, and as ECS spells it."""
    if kind == "long":
        return type(value) is int and -LONG <= value < LONG
    if not isinstance(value, str):
        return False
    if kind == "ip":
        return bool(ipaddress.ip_address(value))
    return kind != "date" or bool(DATE.fullmatch(value) and datetime.fromisoformat(value[:19]))


def check(record: Told, origin: Origin = ORIGIN) -> dict[str, Any]:
    found = flat(json.loads(encode(record, origin)))
    for name, value in found.items():
        if name.startswith("vmon.") or name in NOT_REUSED:
            if name != "vmon.out_of_range":
                assert not isinstance(value, int) or -LONG <= value < LONG
            continue
        kind, array = FIELDS[name]
        assert isinstance(value, list) == array, name
        assert all(fits(item, kind) for item in (value if array else [value])), (name, value)
    assert found["event.kind"] in KINDS
    assert found.get("event.outcome", "unknown") in OUTCOMES
    assert found["host.os.type"] in OS_TYPES
    assert set(found["event.type"]) <= TYPES
    for category in found["event.category"]:
        # ECS has no category for what was refused but network and intrusion_detection; the type says it all the same.
        assert set(found["event.type"]) - {"denied"} <= EXPECTED[category]
    return found


@pytest.mark.parametrize("record", RECORDS, ids=named)
def test_every_field_is_one_of_ecs_and_of_its_type(record: Told) -> None:
    found = check(record)
    assert found["event.module"] == "vmon"
    assert found["@timestamp"].startswith(("2025-", "2099-"))


@settings(deadline=None, max_examples=200)
@given(record=hostile_records, origin=hostile_origins)
def test_hostile_ones_too(record: Told, origin: Origin) -> None:
    check(record, origin)


def test_numbers_that_elasticsearch_can_not_hold_are_left_out_and_told() -> None:
    found = check(event(cgroup_id=LONG, flags=LONG - 1))
    assert found["vmon.out_of_range"] == ["vmon.cgroup_id"]
    assert found["vmon.flags"] == LONG - 1
    assert "vmon.cgroup_id" not in found


def test_a_detection_is_an_alert_with_its_rule() -> None:
    found = check(DETECTIONS[0])
    assert found["event.kind"] == "alert"
    assert (found["rule.name"], found["event.severity"]) == ("A server starts a shell", 73)
    assert found["threat.technique.id"] == ["T1059", "T1190"]
    assert found["threat.technique.subtechnique.id"] == ["T1059.004"]
    assert found["threat.tactic.id"] == ["TA0002"]
    assert found["process.command_line"] == "sh -c id"
    assert (
        found["event.id"] == "lab:web1/1764000000123456789/5000000001/41/6f3ae1b0-0000-4000-8000-000000000001"
    )
    failed = check(DETECTIONS[2])
    assert (failed["event.reason"], failed["vmon.done"]) == ("no such process", "failed")
    assert "threat.framework" not in check(DETECTIONS[1])


def test_a_notice() -> None:
    assert check(NOTICES[0])["event.kind"] == "state"
    assert check(NOTICES[1])["event.kind"] == "alert"


def test_ids_of_attack() -> None:
    assert attack_ids(("T1.001", "T1", "TA2", "T1.002")) == (["TA2"], ["T1"], ["T1.001", "T1.002"])
