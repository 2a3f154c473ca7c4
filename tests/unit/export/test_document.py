from __future__ import annotations

import json
import unicodedata

import pytest

from vmon.core.text import UNSAFE
from vmon.export.document import indented, json_bytes


def test_plain_text_is_as_it_is() -> None:
    assert json_bytes({"a": [1, "b", None]}) == b'{"a":[1,"b",null]}'


def test_every_character_comes_back_and_none_is_unsafe() -> None:
    for start in range(0, 0x110000, 0x1000):
        text = "".join(chr(code) for code in range(start, start + 0x1000) if not 0xD800 <= code < 0xE000)
        data = json_bytes(text)
        assert json.loads(data) == text
        assert not UNSAFE.search(data.decode())
        assert not any(unicodedata.category(char) == "Cc" for char in data.decode())


@pytest.mark.parametrize("nest", [lambda text: text, lambda text: [text], lambda text: {"a": (text,)}])
def test_bytes_that_are_not_utf_8_are_told(nest: object) -> None:
    assert b"\\\\xff" in json_bytes(nest("a\udcff"))  # type: ignore[operator]


@pytest.mark.parametrize(
    "text", ["\x1b[31m", "a\x7fb", "\x9b1m", "\u202eevil", "\ufeff", "\U000e0041", "\u2028", "é漢😀"]
)
def test_what_a_terminal_would_obey_is_escaped_and_kept(text: str) -> None:
    data = json_bytes({text: [text]})
    assert not UNSAFE.search(data.decode())
    assert json.loads(data) == {text: [text]}


def test_bytes_that_are_not_utf8_stand_as_their_numbers() -> None:
    assert json.loads(json_bytes({"a\udcff": ["\udc80"]})) == {"a\\xff": ["\\x80"]}


def test_indented_for_people() -> None:
    assert indented({"a": 1}) == '{\n  "a": 1\n}'
