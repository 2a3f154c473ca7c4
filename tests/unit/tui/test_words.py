from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmon.core.text import UNSAFE, width
from vmon.tui.words import LONGEST, clean, cut, fit, folded, size, span

ANY = st.text(st.characters(codec=None), max_size=60)


@given(ANY, st.integers(0, 40), st.booleans())
def test_whatever_a_guest_writes_takes_just_its_room_and_is_safe(
    text: str, columns: int, right: bool
) -> None:
    shown = fit(clean(text), columns, right=right)
    assert width(shown) == columns
    assert not UNSAFE.search(shown)
    assert width(cut(clean(text), columns)) <= columns


def test_wide_characters_are_never_halved() -> None:
    assert fit("漢字漢字", 5) == "漢字…"
    assert fit("漢字漢字", 4) == "漢… "
    assert fit("ab", 4, right=True) == "  ab"


def test_megabytes_and_towers_of_marks_are_cut() -> None:
    assert len(clean("x" * 10**6)) == LONGEST + 1
    assert clean("e" + "\u0301" * 500) == "e\u0301\u0301"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "-"),
        (0, "0B"),
        (999, "999B"),
        (1000, "1.0K"),
        (512 << 20, "512M"),
        (1 << 50, "1024.0T"),
        (3 << 30, "3.0G"),
    ],
)
def test_sizes(value: int | None, said: str) -> None:
    assert size(value) == said


def test_spans() -> None:
    assert [span(s) for s in (-1, 4.25, 184, 18_184, 1_047_845)] == [
        "0.0s",
        "4.2s",
        "3:04",
        "5:03:04",
        "12d 3:04:05",
    ]


@given(ANY, st.integers(2, 40))
def test_a_sentence_is_folded_and_nothing_of_it_is_lost(text: str, columns: int) -> None:
    text = clean(text)
    lines = folded(text, columns)
    assert all(width(line) <= columns for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_a_sentence_is_broken_at_a_blank() -> None:
    assert folded("the guest is gone", 10) == ["the guest", "is gone"]
    assert folded("short", 10) == ["short"]
