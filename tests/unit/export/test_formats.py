"""What holds for every format: one line a record, whatever the guest wrote, and nothing that a terminal obeys."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings

from tests.unit.export.told import ORIGIN, RECORDS, hostile_origins, hostile_records
from vmon.core.ecs import Origin
from vmon.core.errors import UsageError
from vmon.core.text import UNSAFE
from vmon.core.told import Told
from vmon.export.formats import FORMATS, encoder
from vmon.export.syslog import around

JSON = ("jsonl", "ecs", "ocsf", "falco")


@pytest.mark.parametrize("name", FORMATS)
def test_every_record_is_one_line(name: str) -> None:
    for record in RECORDS:
        data = encoder(name)(record, ORIGIN)
        assert b"\n" not in data and data
        if name in JSON:
            assert isinstance(json.loads(data), dict)


@pytest.mark.parametrize("name", FORMATS)
@settings(deadline=None, max_examples=300)
@given(record=hostile_records, origin=hostile_origins)
def test_no_text_of_a_guest_ends_a_line_or_moves_a_terminal(name: str, record: Told, origin: Origin) -> None:
    text = encoder(name)(record, origin).decode()
    assert not UNSAFE.search(text)
    if name in JSON:
        json.loads(text)


@pytest.mark.parametrize("name", JSON)
@settings(deadline=None, max_examples=100)
@given(record=hostile_records, origin=hostile_origins)
def test_what_the_operator_named_the_machine_stays(name: str, record: Told, origin: Origin) -> None:
    """A guest's name for itself stands nowhere where that of its machine belongs."""
    found = json.loads(around(encoder(name))(record, origin).decode().split("] ", 1)[1])
    where = {
        "jsonl": lambda: found["origin"]["target"],
        "ecs": lambda: found["host"]["name"],
        "ocsf": lambda: found["device"]["name"],
        "falco": lambda: found["hostname"],
    }
    assert where[name]() == "lab:web1"


def test_a_format_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="there is no format 'xml'") as caught:
        encoder("xml")
    assert "ocsf" in caught.value.hint
