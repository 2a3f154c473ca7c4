from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import steady
from vmon.core.text import guest_text, printable, storable, width

# Zs and above are seen; these are not: controls, surrogates, line and paragraph separators.
NEVER = {"Cc", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"plain", "plain"),
        (b"a\nb\tc\rd", "a\\nb\\tc\\rd"),
        (b"\x1b[31mred", "\\x1b[31mred"),
        (b"\0\x7f", "\\x00\\x7f"),
        ("\x9b31m".encode(), "\\x9b31m"),
        (b"\xff\xfe", "\\xff\\xfe"),
        ("a\u202eb\u200bc\ufeff".encode(), "a\\u202eb\\u200bc\\ufeff"),
        ("caf\u00e9 \u65e5\u672c \U0001f600".encode(), "caf\u00e9 \u65e5\u672c \U0001f600"),
        ("x\U000e0041\u180e".encode(), "x\\U000e0041\\u180e"),
        (b"back\\slash", "back\\slash"),
    ],
)
def test_what_a_terminal_gets(data: bytes, shown: str) -> None:
    assert printable(guest_text(data)) == shown


def test_no_character_that_controls_a_terminal_or_hides_text_gets_through() -> None:
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        hidden = 0xE0000 <= code <= 0xE007F or unicodedata.bidirectional(char) in (
            "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI",
        )  # fmt: skip
        if hidden or unicodedata.category(char) in NEVER:
            shown = printable(char)
            assert shown.isascii() and shown.startswith("\\") and len(shown) > 1, hex(code)


@steady(200)
@given(st.binary(max_size=80))
def test_any_bytes_are_shown_without_control_characters(data: bytes) -> None:
    shown = printable(guest_text(data))
    assert not [char for char in shown if unicodedata.category(char) in NEVER]
    shown.encode("utf-8")
    assert printable(shown) == shown
    assert width(shown) >= 0


@steady(200)
@given(st.binary(max_size=80))
def test_any_bytes_can_be_stored_and_what_is_utf_8_is_kept(data: bytes) -> None:
    text = guest_text(data)
    assert text.encode("utf-8", "surrogateescape") == data
    stored = storable(text)
    stored.encode("utf-8")
    try:
        assert stored == data.decode("utf-8")
    except UnicodeDecodeError:
        assert "\\x" in stored


def test_what_is_stored_keeps_control_characters() -> None:
    assert storable(guest_text(b"a\n\x1b\xff")) == "a\n\x1b\\xff"


@pytest.mark.parametrize(
    ("text", "columns"),
    [("", 0), ("abc", 3), ("caf\u00e9", 4), ("e\u0301", 1), ("\u65e5\u672c", 4), ("\uff21x", 3)],
)
def test_columns_on_a_terminal(text: str, columns: int) -> None:
    assert width(text) == columns


def test_text_of_the_guest_loses_no_byte() -> None:
    every = bytes(range(256))
    assert guest_text(every).encode("utf-8", "surrogateescape") == every
    assert guest_text("\u00e9".encode()) == "\u00e9"
