"""Falco's JSON output as its documentation has it: falco.org/docs/concepts/outputs, `falco --list` for the fields."""

from __future__ import annotations

import json
import re

import jsonschema
import pytest
from hypothesis import given, settings

from tests.unit.export.told import DETECTIONS, ORIGIN, RECORDS, event, hostile_origins, hostile_records, named
from vmon.core.ecs import KINDS, Origin
from vmon.core.told import Told
from vmon.export.falco import CALLS, encode

SHAPE = jsonschema.Draft202012Validator(
    {
        "type": "object",
        "required": ["hostname", "output", "output_fields", "priority", "rule", "source", "tags", "time"],
        "additionalProperties": False,
        "properties": {
            "hostname": {"type": "string"},
            "output": {"type": "string", "pattern": r"^\d\d:\d\d:\d\d\.\d{9}: [A-Z][a-z]+ "},
            "output_fields": {
                "type": "object",
                "additionalProperties": {"type": ["string", "integer"]},
                "propertyNames": {
                    "pattern": r"^(evt\.(time|num|type|cpu|res|arg\.[a-z]+)|proc\.(pid|ppid|name|exepath|cmdline|args)"
                    r"|thread\.tid|user\.uid|group\.gid|container\.id"
                    r"|fd\.(name|type|filename|directory|l4proto|[scl](ip|port))"
                    r"|vmon\.(event|verdict|verb|done|target))$"
                },
            },
            "priority": {
                "enum": [
                    "Emergency",
                    "Alert",
                    "Critical",
                    "Error",
                    "Warning",
                    "Notice",
                    "Informational",
                    "Debug",
                ]
            },
            "rule": {"type": "string"},
            "source": {"const": "syscall"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "time": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$"},
        },
    }
)


@pytest.mark.parametrize("record", RECORDS, ids=named)
def test_each_record_has_the_shape(record: Told) -> None:
    SHAPE.validate(json.loads(encode(record, ORIGIN)))


@settings(deadline=None, max_examples=100)
@given(record=hostile_records, origin=hostile_origins)
def test_hostile_ones_too(record: Told, origin: Origin) -> None:
    found = json.loads(encode(record, origin))
    SHAPE.validate(found)
    assert "\n" not in found["output"]


def test_every_kind_names_a_system_call() -> None:
    assert set(CALLS) == set(KINDS)


def test_what_was_done() -> None:
    found = json.loads(encode(event("net.connect", verdict="denied", errno=111, rule=2), ORIGIN))
    fields = found["output_fields"]
    assert (fields["fd.sip"], fields["fd.sport"], fields["fd.l4proto"]) == ("192.0.2.7", 443, "tcp")
    assert (found["priority"], fields["evt.res"], fields["container.id"]) == (
        "Notice",
        "ECONNREFUSED",
        "host",
    )
    found = json.loads(encode(DETECTIONS[0], ORIGIN))
    assert (found["rule"], found["priority"]) == ("A server starts a shell", "Error")
    assert "T1059.004" in found["tags"]
    assert re.search(
        r"Error A server .*\(kill: done\): process.exec by httpd \(pid 113, uid 33\) sh -c id",
        found["output"],
    )
