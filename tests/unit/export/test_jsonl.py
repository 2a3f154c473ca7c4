from __future__ import annotations

import json

import jsonschema
import pytest
from hypothesis import given, settings

from tests.unit.export.told import DETECTIONS, EVENTS, NOTICES, ORIGIN, RECORDS, event, hostile_records, named
from vmon.core.told import Told
from vmon.export.jsonl import encode
from vmon.export.schemas import TYPES, published

SCHEMAS = {name: jsonschema.Draft202012Validator(json.loads(published(name))) for name in TYPES}


@pytest.mark.parametrize("record", RECORDS, ids=named)
def test_each_line_is_of_its_published_schema(record: Told) -> None:
    found = json.loads(encode(record, ORIGIN))
    SCHEMAS[found["record"]].validate(found)
    assert found["origin"]["target"] == "lab:web1"


@settings(deadline=None, max_examples=100)
@given(record=hostile_records)
def test_hostile_ones_too(record: Told) -> None:
    found = json.loads(encode(record, ORIGIN))
    SCHEMAS[found["record"]].validate(found)


def test_the_kinds_are_told_apart() -> None:
    kinds = [json.loads(encode(found[0], ORIGIN))["record"] for found in (EVENTS, DETECTIONS, NOTICES)]
    assert kinds == ["event", "detection", "notice"]
    other = json.loads(encode(NOTICES[0], ORIGIN))
    assert list(SCHEMAS["event"].iter_errors(other))


def test_text_is_kept() -> None:
    name = 'a\n"\\ \udcffé\u202e'
    line = encode(event(path=name), ORIGIN)
    assert json.loads(line)["path"] == 'a\n"\\ \\xffé\u202e'
    assert b"\\u202e" in line
