"""Every kind of record against the schema of OCSF itself, 1.5.0 and what came after it."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from tests.unit.export.told import DETECTIONS, ORIGIN, RECORDS, event, hostile_origins, hostile_records, named
from vmon.core.ecs import KINDS, Origin
from vmon.core.told import Told
from vmon.export.ocsf import CLASSES, NAMES, VERSION, encode

VERSIONS = (VERSION, "1.8.0")


@cache
def schema(version: str) -> OcsfJsonSchemaEmbedded:
    return OcsfJsonSchemaEmbedded(get_ocsf_schema(version=version))


@cache
def validator(version: str, class_uid: int, profiles: tuple[str, ...]) -> jsonschema.Draft202012Validator:
    name = schema(version).lookup_class_name_from_uid(class_uid=class_uid)
    return jsonschema.Draft202012Validator(
        schema(version).get_class_schema(class_name=name, profiles=list(profiles))
    )


def check(found: dict[str, Any], version: str) -> None:
    profiles = tuple(found["metadata"]["profiles"])
    validator(version, found["class_uid"], profiles).validate(found)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("record", RECORDS, ids=named)
def test_each_record_is_of_its_class(record: Told, version: str) -> None:
    check(json.loads(encode(record, ORIGIN)), version)


@settings(deadline=None, max_examples=100)
@given(record=hostile_records, origin=hostile_origins)
def test_hostile_ones_too(record: Told, origin: Origin) -> None:
    check(json.loads(encode(record, origin)), VERSION)


def test_the_schema_can_say_no() -> None:
    found = json.loads(encode(event(), ORIGIN))
    for change in ({"activity_id": 77}, {"file": {"path": "/a"}}, {"made_up": 1}, {"time": "now"}):
        with pytest.raises(jsonschema.ValidationError):
            check({**found, **change}, VERSION)


def test_every_kind_has_its_class_and_its_names_are_those_of_the_schema() -> None:
    assert set(CLASSES) == set(KINDS)
    classes = get_ocsf_schema(version=VERSION)["classes"]
    by_uid = {found["uid"]: found for found in classes.values()}
    for class_uid, activity_id, activity in CLASSES.values():
        assert by_uid[class_uid]["caption"] == NAMES[class_uid]
        if activity_id != 99:
            given = by_uid[class_uid]["attributes"]["activity_id"]["enum"][str(activity_id)]["caption"]
            assert given == activity


def test_who_did_what_to_whom() -> None:
    found = json.loads(encode(event("process.exec"), ORIGIN))
    assert (found["class_uid"], found["activity_id"], found["type_uid"]) == (1007, 1, 100701)
    assert (found["process"]["cmd_line"], found["actor"]["process"]["pid"]) == ("sh -c id", 1)
    found = json.loads(encode(event("process.signal"), ORIGIN))
    assert (found["actor"]["process"]["pid"], found["process"]["pid"]) == (113, 200)
    found = json.loads(encode(event("net.connect", verdict="denied", errno=111), ORIGIN))
    assert (found["dst_endpoint"], found["disposition_id"]) == ({"ip": "192.0.2.7", "port": 443}, 2)
    found = json.loads(encode(event("file.rename"), ORIGIN))
    assert (found["file"]["name"], found["file_result"]["name"]) == ("index.html", "old.html")


def test_a_finding_says_which_rule_and_why() -> None:
    found = json.loads(encode(DETECTIONS[0], ORIGIN))
    assert found["class_uid"] == 2004
    assert found["finding_info"]["analytic"]["uid"] == "6f3ae1b0-0000-4000-8000-000000000001"
    assert {"technique": {"uid": "T1059"}, "sub_technique": {"uid": "T1059.004"}} in found["finding_info"][
        "attacks"
    ]
    assert found["evidences"][0]["process"]["cmd_line"] == "sh -c id"
    assert (found["severity_id"], found["disposition_id"], found["count"]) == (4, 2, 5)
