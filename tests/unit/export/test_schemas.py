from __future__ import annotations

import json

import jsonschema
import pytest

from vmon.core.errors import UsageError
from vmon.export.schemas import TYPES, made, published


@pytest.mark.parametrize("name", TYPES)
def test_what_is_published_is_what_the_records_say(name: str) -> None:
    assert published(name) == made(name), "run ./dev docs"
    schema = json.loads(published(name))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:vmon:schema:{name}"


def test_fields_are_described() -> None:
    event = json.loads(published("event"))["$defs"]["EventLine"]["properties"]
    assert event["name"]["description"] == "comm."
    origin = json.loads(published("detection"))["$defs"]["Origin"]["properties"]
    assert origin["target"]["description"].startswith("As it was attached")


def test_a_schema_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="no schema 'x'"):
        published("x")
