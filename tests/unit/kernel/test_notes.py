from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.build import note
from tests.unit.kernel.fuzz import damaged, steady
from vmon.core.errors import BadStructure
from vmon.kernel.notes import MAX_NOTES_BYTES, find_build_id

ID = bytes(range(20))
NOTES = note(b"Linux\0", 257, b"\0" * 8) + note(b"Xen\0", 6, b"linux\0") + note(b"GNU\0", 3, ID)
IMAGE = b"before.." + NOTES + note(b"GNU\0", 3, b"\xee" * 20)
END = 8 + len(NOTES)


def test_the_build_id_and_where_it_lies() -> None:
    text, at = find_build_id(IMAGE, 8, END)
    assert text == ID.hex()
    assert IMAGE[at : at + 20] == ID


LONG = IMAGE + b"\0" * 8192


@pytest.mark.parametrize(
    ("start", "stop"),
    [(None, END), (8, None), (-4, END), (END, 8), (8, 8), (8, len(LONG) + 1), (8, 8 + MAX_NOTES_BYTES + 1)],
)
def test_a_section_that_cannot_be(start: int | None, stop: int | None) -> None:
    with pytest.raises(BadStructure, match="no notes section") as caught:
        find_build_id(LONG, start, stop)
    assert caught.value.field == "__start_notes"


@pytest.mark.parametrize(
    "notes",
    [
        note(b"GNU\0", 1, ID),
        note(b"GNX\0", 3, ID),
        note(b"GNU\0", 3, b"short"),
        note(b"GNU\0", 3, b"x" * 65),
        note(b"GNU\0", 3, ID)[:-4],
        b"\xff" * 64,
        b"\0" * 64,
        b"\0" * 8,
    ],
)
def test_notes_without_a_build_id(notes: bytes) -> None:
    with pytest.raises(BadStructure, match="no build id"):
        find_build_id(notes, 0, len(notes))


@steady(150)
@given(damaged(IMAGE), st.integers(-4, 80), st.integers(0, 200))
def test_damaged_notes(image: bytes, start: int, stop: int) -> None:
    try:
        text, at = find_build_id(image, start, stop)
    except BadStructure:
        return
    assert 16 <= len(text) <= 128
    assert image[at : at + len(text) // 2].hex() == text
    assert start <= at < stop
