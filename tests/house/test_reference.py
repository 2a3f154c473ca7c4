"""The generated reference is what the program says of itself today."""

from __future__ import annotations

from docs.generate import PAGE, reference


def test_reference_is_fresh() -> None:
    assert PAGE.read_text() == reference(), "run ./dev docs"
