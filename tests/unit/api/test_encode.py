from __future__ import annotations

import json

import pytest

from tests.unit.api.fakes import event
from vmon.api.encode import encode
from vmon.core.text import UNSAFE


def test_plain_records_are_plain_json() -> None:
    assert json.loads(encode({"records": [event()]}))["records"][0]["path"] == "/bin/nc"


@pytest.mark.parametrize(
    "text", ["\x1b[31m", "a\x7fb", "\x9b1m", "\u202eevil", "\ufeff", "\U000e0041", "\u2028", "é漢😀"]
)
def test_what_a_terminal_would_obey_is_escaped_and_kept(text: str) -> None:
    data = encode({text: [text]})
    assert not UNSAFE.search(data.decode())
    assert json.loads(data) == {text: [text]}


def test_bytes_that_are_not_utf8_stand_as_their_numbers() -> None:
    assert json.loads(encode({"a\udcff": ["\udc80"]})) == {"a\\xff": ["\\x80"]}
