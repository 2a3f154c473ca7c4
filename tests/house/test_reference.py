"""The generated reference is what the program says of itself today."""

from __future__ import annotations

from docs.generate import CHECKS, MAN, PAGE, checks, manual, reference


def test_reference_is_fresh() -> None:
    assert PAGE.read_text() == reference(), "run ./dev docs"


def test_the_table_of_checks_is_fresh() -> None:
    assert CHECKS.read_text() == checks(), "run ./dev docs"


def test_the_manual_is_fresh() -> None:
    assert {path.name: path.read_text() for path in MAN.glob("*")} == manual(), "run ./dev docs"
