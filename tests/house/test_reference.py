"""The generated reference is what the program says of itself today."""

from __future__ import annotations

from docs.generate import CHECKS, PAGE, checks, reference


def test_reference_is_fresh() -> None:
    assert PAGE.read_text() == reference(), "run ./dev docs"


def test_the_table_of_checks_is_fresh() -> None:
    assert CHECKS.read_text() == checks(), "run ./dev docs"
