from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import steady
from vmon.linux.textscan import MAX_TEXT_CHARS, OVERLAP_BYTES, iter_texts, runs
from vmon.linux.windows import Window

BASE = 0x1000


def texts(data: bytes, least: int = 4, **options: bool) -> list[tuple[int, str, bytes]]:
    return list(iter_texts([Window(BASE, data, len(data), ())], least, **options))


def test_ascii_and_utf_16() -> None:
    data = b"\0abcd\0abc\0\x80tab\there\xff" + "wide!".encode("utf-16-le") + b"\0\0"
    assert texts(data) == [
        (BASE + 1, "ascii", b"abcd"),
        (BASE + 11, "ascii", b"tab\there"),
        (BASE + 20, "utf-16-le", b"wide!"),
    ]
    assert [kind for _, kind, _ in texts(data, wide=False)] == ["ascii", "ascii"]
    assert [text for _, _, text in texts(data, 8)] == [b"tab\there"]
    assert texts(b"") == []


def test_a_wide_text_at_an_odd_address() -> None:
    assert texts(b"\x01" + "odd place".encode("utf-16-le"), 5) == [(BASE + 1, "utf-16-le", b"odd place")]


def test_a_long_text_goes_on_in_the_next_record() -> None:
    data = b"x" * (MAX_TEXT_CHARS + 10)
    assert [(at - BASE, len(text)) for at, _, text in texts(data)] == [
        (0, MAX_TEXT_CHARS),
        (MAX_TEXT_CHARS, 10),
    ]


@pytest.mark.parametrize("place", [0, 1, 95, 96, 99, 100, 120])
@pytest.mark.parametrize("wide", [False, True])
def test_a_text_at_the_border_of_windows_is_found_once_and_whole(place: int, wide: bool) -> None:
    text = b"over the border"
    body = text.decode().encode("utf-16-le") if wide else text
    data = b"\xff" * place + body + b"\xff" * (300 - place - len(body))
    own = 100
    windows = [
        Window(BASE + at, data[at : at + own + OVERLAP_BYTES], own, ()) for at in range(0, len(data), own)
    ]
    kind = "utf-16-le" if wide else "ascii"
    assert list(iter_texts(windows, 4)) == [(BASE + place, kind, text)]


@steady(200)
@given(st.text("xx-", max_size=40), st.integers(1, 9))
def test_runs_are_those_of_a_regular_expression(text: str, least: int) -> None:
    flags = np.array([char == "x" for char in text], dtype=bool)
    starts, ends = runs(flags, least)
    expected = [match.span() for match in re.finditer(f"x{{{least},}}", text)]
    assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == expected
