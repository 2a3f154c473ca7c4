from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from syslog_rfc5424_parser import ParseError, SyslogMessage

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
from vmon.export import jsonl
from vmon.export.syslog import MAX_VALUE_CHARS, around, encode, token, value

OWN = "vmon@32473"


@pytest.mark.parametrize("record", RECORDS, ids=named)
def test_each_record_is_read_back_by_a_parser_of_others(record: Told) -> None:
    found = SyslogMessage.parse(encode(record, ORIGIN).decode())
    assert (found.hostname, found.appname) == ("lab:web1", "vmon")
    assert found.sd["origin"]["software"] == "vmon"
    assert found.sd[OWN]["target"] == "lab:web1"


@settings(deadline=None, max_examples=300)
@given(record=hostile_records, origin=hostile_origins)
def test_text_of_a_guest_adds_no_element(record: Told, origin: Origin) -> None:
    found = SyslogMessage.parse(encode(record, origin).decode())
    assert set(found.sd) <= {"origin", OWN, "rule@32473"}
    assert found.sd[OWN]["target"] == "lab:web1"
    assert found.hostname == "lab:web1"


def test_what_it_says() -> None:
    found = SyslogMessage.parse(encode(event("process.exec", verdict="denied", rule=2), ORIGIN).decode())
    assert (found.msgid, found.severity.name, found.facility.name) == ("process.exec", "notice", "audit")
    assert found.sd[OWN]["cmdline"] == "sh -c id"
    assert found.msg == "process.exec by httpd (pid 113, uid 33) sh -c id: denied"
    found = SyslogMessage.parse(encode(DETECTIONS[0], ORIGIN).decode())
    assert found.sd["rule@32473"]["attack"] == "T1059.004,T1190,TA0002"
    assert found.severity.name == "err"
    assert SyslogMessage.parse(encode(NOTICES[1], ORIGIN).decode()).msgid == "vmon.tampered"


def test_another_format_as_its_message() -> None:
    found = SyslogMessage.parse(around(jsonl.encode)(event(), ORIGIN).decode())
    assert json.loads(found.msg or "")["path"] == "/srv/www/index.html"


def test_words_of_the_head() -> None:
    assert token("a b\nc\x7fé", 255) == "a_b_c__"
    assert token("", 5) == "-"
    assert token("x" * 300, 255) == "x" * 255


def test_the_parser_can_say_no() -> None:
    with pytest.raises(ParseError):
        SyslogMessage.parse('<110>1 2026-01-01T00:00:00Z h vmon - - [a b="c"d"] m')


def test_values() -> None:
    assert value('a"b]c\\d') == 'a\\"b\\]c\\\\d'
    assert value("a\\") == "a\\\\x5c"
    assert len(value("x" * 5000)) == MAX_VALUE_CHARS and value("x" * 5000).endswith("...")
